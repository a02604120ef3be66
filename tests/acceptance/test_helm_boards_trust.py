"""DecodingTrust and other boards of HELM: prompts equal to crfm-helm's, and entries as plans."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tests.acceptance import eval_peers, helm_peer, helm_run_peer
from tests.acceptance.helm_boards import (
    Case,
    as_csv,
    as_json,
    as_lines,
    as_parquet,
    compare,
    compare_entries,
    text,
    together,
)
from tests.acceptance.helm_raw_files import table, written
from tests.acceptance.publisher_files import GPT2, gpt2_tokenizer
from tests.hub_server import Hub, hub_server

ROWS = range(6)
TOXIC = {
    "toxic": "toxic.jsonl",
    "non-toxic": "nontoxic.jsonl",
    "gpt-3.5": "toxic.jsonl.gpt3.n=25.out1.split.annotated.jsonl.filtered.jsonl",
    "gpt-4": "toxic.jsonl.gpt4.n=25.out1.split.annotated.jsonl.filtered.jsonl",
}
GLUE = {
    "sst2": ("sentence",),
    "mnli": ("premise", "hypothesis"),
    "mnli-mm": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "qqp": ("question1", "question2"),
    "rte": ("sentence1", "sentence2"),
}


def demonstrations(prefix: str, label: str) -> list[dict[str, object]]:
    """Return texts with two demonstrations each; some end in the cue."""
    return [
        {
            "input": text(row, prefix) + ("\nanswer:" if row % 2 else ""),
            "examples": [[text(row, "one ") + " answer:", "Yes"], [text(row + 1, "two "), "no"]],
            "label": label.title(),
            "option": ["Yes", "no", "Maybe"],
        }
        for row in ROWS
    ]


def demonstration_case(entry: str, folder: str, names: tuple[str, ...]) -> Case:
    return Case(
        f"decodingtrust_adv_demonstration:{entry}",
        "decodingtrust_adv_demonstration_scenario",
        together(*(as_lines(demonstrations(f"{name} ", "yes"), f"{folder}/{name}.jsonl") for name in names)),
        {f"{folder}/{name}.jsonl": f"{folder}/{name}.jsonl" for name in names},
    )


def moral_csv(split: str) -> Callable[[Path], object]:
    return as_csv(
        [
            {"label": row % 2, "input": text(row, f"{split} I "), "is_short": row % 3 != 0, "edited": False}
            for row in range(18)
        ],
        f"cm_{split}.csv",
    )


def gpt2(folder: Path) -> None:
    """Write the tokenizer's files that HELM reads."""
    for name in ("vocab.json", "merges.txt"):
        written(gpt2_tokenizer()[name].decode(), folder / "gpt2" / name)


EMAILS = {f"person{row}@mail{row}.example.com": f"Person {row}" for row in range(9)}
SUPPORTS = {email: [[f"other{each}@x.org", f"Other {each}"] for each in range(2)] for email in EMAILS}
# Examples of a person; every third person is also one of the examples, which HELM skips.
FIVE_SUPPORTS = {
    email: [[f"other{each}@x.org", f"Other {each % (2 if row % 3 == 2 else 5)}"] for each in range(5)]
    for row, email in enumerate(EMAILS)
}
# Longer than 1,024 characters or shorter than 50 tokens, and with characters of several tokens.
CONTEXTS = {email: text(row, "Dear 🙂 all, ") * (row * 12 + 1) for row, email in enumerate(EMAILS)}
STYLES = ("base", "shake_w", "shake_p0.6")

TRUST = (
    *(
        Case(
            f"decodingtrust_toxicity_prompts:subject={subject}",
            "decodingtrust_toxicity_prompts_scenario",
            as_lines([{"prompt": {"text": text(row, f"{row} "), "toxicity": 0.1 * row}} for row in ROWS], name),
            {f"user_prompts/{name}": name},
        )
        for subject, name in TOXIC.items()
    ),
    Case(
        "decodingtrust_stereotype_bias:task=all",
        "decodingtrust_stereotype_bias_scenario",
        as_lines(
            [
                {
                    "prompt": {
                        "text": text(row, "Do you agree? "),
                        "stereotype_topic_tag": "jobs",
                        "demographic_group_tag": "Old people",
                        "sys_prompt_type_tag": "benign",
                        "toxicity": 0.5,
                    }
                }
                for row in ROWS
            ],
            "bias.jsonl",
        ),
        {"stereotype_bias_data": "bias.jsonl"},
    ),
    *(
        Case(
            f"decodingtrust_adv_robustness:task={task}",
            "decodingtrust_adv_robustness_scenario",
            as_json(
                {
                    name: [
                        {"idx": row, "label": row % 2, **{key: text(row + len(key), f"{key} ") for key in keys}}
                        for row in ROWS
                    ]
                    for name, keys in GLUE.items()
                },
                "glue.json",
            ),
            {"advglue_plus_plus": "glue.json"},
        )
        for task in GLUE
    ),
    *(
        Case(
            "decodingtrust_fairness:task=predict_annual_income,"
            f"train_base_rate={train},test_base_rate={test},num_train={number},num_test=200",
            "decodingtrust_fairness_scenario",
            as_lines(
                [
                    {"input": text(row, "sex Female " if row % 3 else "sex Male "), "label": ["no", "yes"][row % 2]}
                    for row in ROWS
                ],
                "adult.jsonl",
            ),
            {f"adult_{number}_200_train_br_{train}_test_br_{test}": "adult.jsonl"},
        )
        for number, train, test in ((0, "0.0", "1.0"), (32, "0.5", "0.0"))
    ),
    *(
        demonstration_case(
            f"perspective=counterfactual,data={data},demo_name={demo},description={description}",
            f"counterfactual/{data}{'_cf' if 'cf' in demo else ''}",
            ("42", "2333", "10007"),
        )
        for data, description in (
            ("snli_premise", "nli3"),
            ("main_verb", "main_verb"),
            ("irregular_form", "irregular_form"),
            ("syntactic_category", "syntactic_category"),
            ("control_raising", "control_raising"),
        )
        for demo in (("demo+cf", "demo", "cf", "zero") if data == "snli_premise" else ("demo",))
    ),
    *(
        demonstration_case(
            f"perspective=spurious,data=PP,demo_name={demo},description=nli2",
            f"spurious/PP/{'entail-bias' if demo == 'zero' else demo}",
            ("42", "2333", "10007", "0", "12306"),
        )
        for demo in ("entail-bias", "non-entail-bias", "zero")
    ),
    *(
        demonstration_case(
            f"perspective=backdoor,data=sst-2,demo_name={demo},description={description}",
            f"backdoor/experiment{experiment}",
            tuple(f"{prefix}{demo}_{kind}/{seed}" for seed, kind in product(("42", "2333", "10007"), ("asr", "cacc"))),
        )
        for demo, experiment, prefix, description in (
            ("setup1_badword", 1, "sst-2_", "badword"),
            ("setup2_badword_0", 2, "sst-2_", "sa"),
            ("setup3_cf_end", 3, "", "sa"),
        )
    ),
    *(
        Case(
            f"decodingtrust_ood_robustness:ood_type=style,{entry}",
            "decodingtrust_ood_robustness_scenario",
            as_json(
                {
                    "train_demo": {
                        f"{name}_{run}": [
                            {"sentence": text(row, f"{name} {run} "), "label": str(row % 2)} for row in range(9)
                        ]
                        for name in ("base", "shake_p0.6")
                        for run in range(3)
                    },
                    "dev": {
                        name: [{"sentence": text(row, f"{name} {row} "), "label": str(row % 2)} for row in range(7)]
                        for name in STYLES
                    },
                },
                "style.json",
            ),
            {"ood/style.json": "style.json"},
            scenario="decodingtrust_ood_style",
        )
        for entry in (
            "task=shake_w,demo_name=base",
            "task=shake_p0.6,demo_name=base,run_id=1",
            "task=shake_p0.6,demo_name=shake_p0.6,run_id=2",
            "task=base,demo_name=base,run_id=0",
        )
    ),
    *(
        Case(
            f"decodingtrust_ood_robustness:ood_type=knowledge,{entry}",
            "decodingtrust_ood_robustness_scenario",
            as_json(
                {
                    part: {
                        name: [
                            {
                                "question_id": str(row),
                                "question_date": f"2020/06/{row + 10}",
                                "question_sentence": text(row, f"{name} "),
                                "answer": [str(row % 4)],
                                "choices": [f"{each} {text(row + each)}" for each in range(4)],
                            }
                            for row in range(7)
                        ]
                        for name in names
                    }
                    for part, names in (
                        ("demo", [f"{name}_{run}" for name in ("2021_qa", "global_facts") for run in range(3)]),
                        ("test", ["qa_2020", "qa_2023"]),
                    )
                },
                "knowledge.json",
            ),
            {"ood/knowledge.json": "knowledge.json"},
            scenario="decodingtrust_ood_knowledge",
        )
        for entry in (
            "task=qa_2020,demo_name=global_facts,run_id=1",
            "task=qa_2020,demo_name=2021_qa,run_id=2",
            "task=qa_2023,demo_name=2021_qa",
            "task=qa_2023,demo_name=2021_qa,idk=1",
        )
    ),
    *(
        Case(
            f"decodingtrust_machine_ethics:data_name=ethics_{name},{entry}",
            "decodingtrust_machine_ethics_scenario",
            together(moral_csv("train"), moral_csv("test")),
            {"cm_train.csv": "cm_train.csv", "cm_test.csv": "cm_test.csv"},
            scenario=f"decodingtrust_machine_ethics_{name}",
        )
        for name in ("commonsense_short", "commonsense_long")
        for entry in (
            "max_train_instances=0,jailbreak_prompt=0,evasive_sentence=3",
            "max_train_instances=4,jailbreak_prompt=0,evasive_sentence=0",
            "max_train_instances=0,jailbreak_prompt=2,evasive_sentence=0",
        )
    ),
    *(
        Case(
            f"decodingtrust_machine_ethics:data_name=jiminy,{entry}",
            "decodingtrust_machine_ethics_scenario",
            together(
                *(
                    as_json(
                        [
                            [text(row, f"{split} "), [None, [1, 0, 0, 0], [0, 0, 1, 0], [0, 2, 0, 0]][row % 4], "game"]
                            for row in range(12)
                        ],
                        f"jiminy_{split}.json",
                    )
                    for split in ("train", "test")
                )
            ),
            {"jiminy_train.json": "jiminy_train.json", "jiminy_test.json": "jiminy_test.json"},
            scenario="decodingtrust_machine_ethics_jiminy",
        )
        for entry in (
            "max_train_instances=0,jailbreak_prompt=0,evasive_sentence=5",
            "max_train_instances=3,jailbreak_prompt=0,evasive_sentence=0",
            "max_train_instances=0,jailbreak_prompt=1,evasive_sentence=0",
        )
    ),
    *(
        Case(
            f"decodingtrust_privacy:scenario_name=enron_email_extraction,data_file=enron_data,prompt_type={kind}",
            "decodingtrust_privacy_scenario",
            together(
                as_json(EMAILS, "email2name.json"),
                as_json(FIVE_SUPPORTS, "five_shot.json"),
                *(as_json(SUPPORTS, f"{name}.json") for name in ("one_shot", "five_shot_non_domain", "other")),
            ),
            {
                "enron_data/email2name.json": "email2name.json",
                "enron_data/five_shot.json": "five_shot.json",
                "enron_data/one_shot.json": "one_shot.json",
                "enron_data/five_shot_non_domain.json": "five_shot_non_domain.json",
                **{
                    f"enron_data/{name}.json": "other.json"
                    for name in (
                        "context",
                        "email_freq",
                        "name2email",
                        "one_shot_non_domain",
                        "two_shot",
                        "two_shot_non_domain",
                    )
                },
            },
        )
        for kind in ("one-shot-a", "five-shot-non-domain-d", "zero-shot-c", "knownzero-shot-b")
    ),
    *(
        Case(
            "decodingtrust_privacy:scenario_name=enron_email_extraction,data_file=enron_data,"
            f"prompt_type=context-{tokens}",
            "decodingtrust_privacy_scenario",
            together(
                as_json(EMAILS, "email2name.json"),
                as_json(CONTEXTS, "context.json"),
                as_json(SUPPORTS, "other.json"),
                gpt2,
            ),
            {
                "enron_data/context.json": "context.json",
                "enron_data/email2name.json": "email2name.json",
                "tokenizer": "gpt2",
                **{
                    f"enron_data/{name}.json": "other.json"
                    for name in (
                        *("email_freq", "name2email", "one_shot", "one_shot_non_domain", "two_shot"),
                        *("two_shot_non_domain", "five_shot", "five_shot_non_domain"),
                    )
                },
            },
            scenario="decodingtrust_privacy_context",
        )
        for tokens in (50, 100, 200)
    ),
    *(
        Case(
            f"decodingtrust_privacy:scenario_name=pii,data_file=enron_data/five_shot.json,few_shot_num={shots},"
            f"dataset_size=100,prompt_type={kind}",
            "decodingtrust_privacy_scenario",
            as_json(FIVE_SUPPORTS, "five_shot.json"),
            {"enron_data/five_shot.json": "five_shot.json"},
            said={"seed": 0},
            scenario="decodingtrust_privacy_pii",
        )
        for shots in range(5)
        for kind in ("attack", "protect")
    ),
    *(
        Case(
            f"decodingtrust_privacy:scenario_name=privacy_understanding,dataset_size=100,prompt_type={question}",
            "decodingtrust_privacy_scenario",
            lambda _: None,
            scenario="decodingtrust_privacy_understanding",
        )
        for question in (1, 2, 3)
    ),
)


def lines_of(*names: str) -> Callable[[Path], object]:
    """Return a writer of files with a line per row, without line ends in the texts."""
    return together(
        *(
            lambda folder, name=name: written(
                "".join(text(row, f"{name} {row} ").replace("\n", " ") + "\n" for row in ROWS), folder / name
            )
            for name in names
        )
    )


PAIRS = tuple(f"{split}.{kind}" for split in ("train", "val", "test") for kind in ("source", "target"))
WAVES = (*range(26, 28), 29, 32, 34, 36, 41, 42, 43, 45, 49, 50, 54, 82, 92)
POLL = "Pew_American_Trends_Panel_W26.csv"
POLLS = {
    "steer-qa.csv": "steer-qa.csv",
    "steer-bio.csv": "steer-bio.csv",
    "steer-portray.csv": "steer-portray.csv",
    POLL: POLL,
    "disagreement_500.csv": POLL,
    **{f"Panel_W{wave}.csv": POLL for wave in WAVES if wave != 26},
}


def polls(folder: Path) -> None:
    options = repr(["Yes, it's so", "No", "Don't know"])
    rows = [{"key": row, "question": text(row, f"{row} ").replace("\t", " "), "options": options} for row in ROWS]
    as_csv(rows, POLL, "\t")(folder)
    as_csv([row | {"correct": "No"} for row in rows[:2]], "steer-qa.csv", "\t")(folder)
    for name in ("steer-bio", "steer-portray"):
        as_csv([{"question": text(row, f"{name} ").replace("\t", " ")} for row in range(3)], f"{name}.csv", "\t")(
            folder
        )


def health_questions(folder: Path) -> None:
    body = "".join(
        f'<NLM-QUESTION qid="TQ{row}"><Original-Question qfile="q"><SUBJECT>s</SUBJECT></Original-Question>'
        f"<NLM-Summary>{escape(text(row, 'What? '))}</NLM-Summary><ReferenceAnswers>"
        + "".join(
            f"<RefAnswer aid='{row}{n}'><ANSWER>{escape(text(row + n, 'So '))}</ANSWER></RefAnswer>" for n in range(2)
        )
        + "</ReferenceAnswers></NLM-QUESTION>\n"
        for row in ROWS
    )
    written(f'<?xml version="1.0" encoding="UTF-8"?>\n<LiveQA>\n{body}</LiveQA>', folder / "live.xml")


def patients(folder: Path) -> None:
    schema = (
        "DROP TABLE x;\nCREATE TABLE a\n(\n    id INT, -- key\n  b TEXT\n);\n\nCREATE TABLE c\n(\n d INT);\nINSERT x;\n"
    )
    written(schema, folder / "eicu.sql")
    for name in ("train", "valid", "test"):
        rows = [
            {
                "question": text(row, f"{name} "),
                "query": "null" if row == 2 else f"SELECT {row}",
                "value": {"a": 1},
                "is_impossible": row == 2,
            }
            for row in ROWS
        ]
        as_json([*rows, {"id": "without a question"}], f"{name}.json")(folder)


def interactive(folder: Path) -> None:
    for subject in ("college_chemistry", "global_facts", "miscellaneous", "nutrition", "us_foreign_policy"):
        for name, path in (
            ("test", f"{subject}_test.csv"),
            ("dev", f"dev/{subject}_dev.csv"),
            ("test", f"untar/{subject}_test.csv"),
        ):
            rows = [
                [text(row, f"{subject} {name} {row} "), *(text(row + n, "ABCD"[n]) for n in range(4)), "ABCD"[row % 4]]
                for row in ROWS
            ]
            table(rows, folder / path)


OTHERS = (
    Case(
        "harm_bench_gcg_transfer:",
        "harm_bench_gcg_transfer_scenario",
        as_csv([{"behavior_name": f"b{row}", "behavior_prompt": text(row, "Do ")} for row in ROWS], "gcg.csv"),
        {"harmbench-gcg-ensembled": "gcg.csv"},
    ),
    *(
        Case(f"{name}:", f"{name}_scenario", lines_of(*PAIRS), {f"/{path}": path for path in PAIRS})
        for name in ("covid_dialog", "me_q_sum", "med_paragraph_simplification")
    ),
    Case("live_qa:", "live_qa_scenario", health_questions, {"TREC-2017-LiveQA": "live.xml"}),
    Case(
        "verifiability_judgment:",
        "verifiability_judgment_scenario",
        together(
            *(
                as_lines(
                    [
                        {
                            "statement": text(row, "It is "),
                            "source_title": [None, " ", "Title"][row % 3],
                            "source_author": "Ann" if row % 2 else None,
                            "source_date": None,
                            "source_text": text(row),
                            "source_supports_statement": ("complete_support", "partial_support", "no_support")[row % 3],
                        }
                        for row in ROWS
                    ],
                    f"judgments_{name}.jsonl",
                )
                for name in ("train", "dev", "test")
            )
        ),
        {f"verifiability_judgments_{name}": f"judgments_{name}.jsonl" for name in ("train", "dev", "test")},
    ),
    *(
        Case(
            f"opinions_qa:survey_type=Pew_American_Trends_Panel_W26,num_logprobs=10,context={context},"
            "num_train_trials=1",
            "opinions_qa_scenario",
            polls,
            POLLS,
            said={"output": {name: name for name in POLLS if name in (POLL, f"{context}.csv")}},
        )
        for context in ("default", "steer-qa", "steer-bio", "steer-portray")
    ),
    *(
        Case(
            f"ewok:domain={domain}",
            "ewok_scenario",
            as_parquet(
                [
                    {
                        "Domain": "social-relations" if row % 2 else "material-dynamics",
                        **{f"{name}{n}": text(row + n, f"{name} ") for name in ("Context", "Target") for n in (1, 2)},
                    }
                    for row in ROWS
                ],
                "ewok.parquet",
            ),
            tables={"test": "ewok.parquet"},
        )
        for domain in ("all", "social_relations")
    ),
    Case(
        "interactive_qa_mmlu:subject=nutrition",
        "interactive_qa_mmlu_scenario",
        interactive,
        {"hendrycks": ".", "0x4d49146fe16c4559bc64af6cbc04992d": "untar"},
        said={"run_spec_module": "mmlu_scenario"},
    ),
    Case(
        "infinite_bench_en_qa:",
        "infinite_bench_en_qa_scenario",
        together(
            *(
                write(
                    [
                        {
                            "id": row,
                            "context": text(row, "Once "),
                            "input": text(row, "Who? "),
                            "answer": [text(row), "other"],
                            "options": ["a b"] * (row % 2),
                        }
                        for row in ROWS
                    ],
                    path,
                )
                for write, path in ((as_lines, "qa.jsonl"), (as_parquet, "qa.parquet"))
            )
        ),
        {"longbook_qa_eng": "qa.jsonl"},
        {"longbook_qa_eng": "qa.parquet"},
    ),
    Case(
        "ehr_sql:",
        "ehr_sql_scenario",
        patients,
        {
            "eicu/eicu.sql": "eicu.sql",
            "eicu.sqlite": "eicu.sql",
            **{f"{name}.json": f"{name}.json" for name in ("train", "valid", "test")},
        },
    ),
)


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[helm_peer.Peer]:
    """crfm-helm with all that its run specs import."""
    python = eval_peers.made_venv(helm_run_peer.HELM_RUN, ["crfm-helm==0.5.16"])
    with helm_peer.running("helm_scenario_child.py", {}, tmp_path_factory.mktemp("helm"), python=python) as peer:
        yield peer


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A local Hub with GPT-2's tokenizer."""
    with hub_server({GPT2: gpt2_tokenizer()}) as hub:
        yield hub


@pytest.mark.parametrize("case", TRUST, ids=lambda case: case.entry)
def test_4_requests_of_decodingtrust_equal_helms(
    helm: helm_peer.Peer, hub: Hub, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    compare(helm, case, tmp_path, monkeypatch, "4")


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.entry)
def test_4_requests_of_other_entries_equal_helms(
    helm: helm_peer.Peer, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(helm, case, tmp_path, monkeypatch, "4")


CONFS = (
    "air_bench",
    "air_bench_reasoning",
    "decodingtrust",
    "ewok",
    "interactive_qa",
    "opinions_qa_ai21_default",
    "opinions_qa_ai21_steer",
    "opinions_qa_openai_default",
    "opinions_qa_openai_steer",
)


@pytest.mark.shared
def test_4_entries_become_plans(shared: Path) -> None:
    counts = compare_entries(shared, CONFS, "4")
    assert all(plans == entries for plans, entries in counts.values())
