"""Check 3: an exported folder opens in pandas, Polars, DuckDB, pyarrow and Spark with default arguments."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pytest
from pyarrow.dataset import dataset

import helmframe as hf
from tests.acceptance.eval_peers import made_venv
from tests.acceptance.figures import shown

TABLES = ("scores", "completions")
SPARK = """
import json, sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
found = {}
for folder in sys.argv[1:]:
    rows = spark.read.parquet(folder)
    models = sorted(row["model"] for row in rows.select("model").distinct().collect())
    found[folder.rpartition("/")[2]] = [rows.count(), dict(rows.dtypes), models]
print(json.dumps(found))
"""
# Polars' type → Spark's, of the columns that dashboards read.
SPARK_TYPES = {"String": "string", "Int64": "bigint", "Float64": "double", "Boolean": "boolean", "Binary": "binary"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {"org/large model": hf.models.noisy(0.9), "7": hf.models.noisy(0.5), "2024-01-01": hf.models.oracle()}
    plan = hf.scenario("sampler").where(subject=["music", "biology"]).limit(16).perturb(["typos", "lowercase"])
    folder = tmp_path_factory.mktemp("run") / "run"
    plan.adapt(instructions={"plain": "", "letter": "Answer with a letter."}).generate(models).score().to_parquet(
        folder
    )
    return folder


def test_3_an_exported_folder_opens_in_five_readers(exported: Path, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        subprocess.run(["apt-get", "install", "-q", "-y", "default-jre-headless"], check=True, capture_output=True)
    python = made_venv(Path(sys.prefix) / ".spark", ["pyspark>=3.5"])
    script = tmp_path / "spark.py"
    script.write_text(SPARK)
    command = [python, str(script), *(str(exported / name) for name in TABLES)]
    environment = {**os.environ, "PYSPARK_PYTHON": python}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    by_spark = json.loads(done.stdout.splitlines()[-1])
    for name in TABLES:
        expected = pl.scan_parquet(exported / name).collect()
        models = sorted(expected["model"].unique())
        assert models == ["2024-01-01", "7", "org/large model"]
        pandas, arrow = pd.read_parquet(exported / name), dataset(exported / name).to_table()
        duck = duckdb.sql(f"SELECT * FROM '{exported / name}/*.parquet'").pl()
        n, dtypes, spark_models = by_spark[name]
        heights = [len(pandas), arrow.num_rows, duck.height, n]
        shown("3", f"{name}: rows in Polars; pandas, pyarrow, DuckDB, Spark", f"{expected.height}; {heights}", "equal")
        assert heights == [expected.height] * 4
        assert sorted(pandas["model"].unique()) == sorted(duck["model"].unique()) == spark_models == models
        assert duck.schema == expected.schema
        for column, dtype in expected.schema.items():
            if str(dtype) in SPARK_TYPES:
                assert dtypes[column] == SPARK_TYPES[str(dtype)], column
