// Two or more runs side by side: scores, and paired differences from the first run.

import { decimal, interval, plain, score, signed, whole } from "./format";
import { useState } from "preact/hooks";
import { keyOf, tone } from "./instances";
import { instances } from "./route";
import type { ComparisonResult, Pairs, Row, Score } from "./types";
import { Link, Loading, Problem, Section, Select, Text, useRequest, Wide } from "./ui";

export function ComparePage({ runs }: { runs: string[] }) {
  const loaded = useRequest<ComparisonResult>("compare", { runs });
  return (
    <>
      <h1>Comparison of {runs.length} runs</h1>
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!loaded.data && !loaded.error && <Loading what="the comparison" />}
      {loaded.data && <Comparison result={loaded.data} />}
      {loaded.data && <DifferingInstances runs={runs} />}
    </>
  );
}

function Comparison({ result }: { result: ComparisonResult }) {
  const name = (row: Score): string => [row.scenario, row.model, row.setting ?? "", row.split ?? "", row.metric].join("\u001f");
  const rows = new Map<string, Map<string, Score>>();
  for (const row of result.scores) {
    const cells = rows.get(name(row)) ?? new Map<string, Score>();
    cells.set(row.run ?? "", row);
    rows.set(name(row), cells);
  }
  return (
    <>
      <Section title="Scores side by side">
        <Wide label="scores side by side">
          <table>
            <thead>
              <tr>
                <th scope="col">scenario</th><th scope="col">model</th><th scope="col">metric</th>
                {result.runs.map((run) => <th scope="col" class="number" key={run}><Link to={{ view: "summary", run }}><Text>{run}</Text></Link></th>)}
              </tr>
            </thead>
            <tbody>
              {[...rows].map(([key, cells]) => {
                const first = [...cells.values()][0];
                if (!first) return null;
                const setting = first.setting ? `, ${first.setting}` : "";
                return (
                  <tr key={key}>
                    <td><Text>{first.scenario}</Text></td><th scope="row"><Text>{first.model + setting}</Text></th><td><Text>{first.metric}</Text></td>
                    {result.runs.map((run) => {
                      const cell = cells.get(run);
                      return (
                        <td key={run} class="number">
                          {cell ? <>{score(cell.value, cell.unit)} <small>{interval(cell.ci_low, cell.ci_high, cell.unit)}, n = {whole(cell.n)}</small></> : "–"}
                        </td>
                      );
                    })}
                  </tr>
                );
              })}
            </tbody>
          </table>
        </Wide>
      </Section>
      <Section title="Paired differences from the first run">
        <p class="note">Differences are over the instances that both runs completed, with 95 % intervals.</p>
        {result.differences.length > 0 && (
          <Wide label="paired differences">
            <table>
              <thead>
                <tr>
                  <th scope="col">run</th><th scope="col">scenario</th><th scope="col">model</th><th scope="col">perturbation</th><th scope="col">metric</th>
                  <th scope="col" class="number">difference</th><th scope="col" class="number">interval</th><th scope="col" class="number">p (Holm)</th><th scope="col" class="number">n</th>
                </tr>
              </thead>
              <tbody>
                {result.differences.map((row, index) => {
                  const significant = row.p_holm !== null && row.p_holm < 0.05;
                  return (
                    <tr key={index}>
                      <th scope="row"><Text>{row.run}</Text></th><td><Text>{row.scenario}</Text></td><td><Text>{row.model}</Text></td>
                      <td><Text>{row.perturbation}</Text></td><td><Text>{row.metric}</Text></td>
                      <td class="number">{significant ? <b>{signed(row.difference, row.unit)}</b> : signed(row.difference, row.unit)}</td>
                      <td class="number">{interval(row.ci_low, row.ci_high, row.unit)}</td>
                      <td class="number">{row.p_holm === null ? "" : row.p_holm < 0.001 ? "<.001" : decimal(row.p_holm)}</td>
                      <td class="number">{whole(row.n)}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </Wide>
        )}
        <ul class="notes">
          {result.notes.map((note, index) => <li key={index}><b>{plain(note.run)}</b>: <Text>{note.text}</Text></li>)}
        </ul>
      </Section>
    </>
  );
}

/** The instances that two runs score differently, with both completions. */
function DifferingInstances({ runs }: { runs: string[] }) {
  const [first = "", ...others] = runs;
  const [other, setOther] = useState(others[0] ?? "");
  const loaded = useRequest<Pairs>("compare_instances", { runs: [first, other] });
  const cell = (run: string, row: Row) => (
    <td class={`text ${tone(row.score, row.error)}`} dir="auto">
      <Link to={instances(run, {}, keyOf(row))} label={plain(`${run}: ${row.instance_id}, ${row.model}, score ${decimal(row.score)}`)}><b>{row.error !== null ? "failed" : decimal(row.score) || "none"}</b></Link>{" "}
      <Text>{(row.error ?? row.completion ?? "").slice(0, 80)}</Text>
    </td>
  );
  return (
    <Section title="Instances with different scores">
      {others.length > 1 && <Select title="run" value={other} options={others.map((name) => [name, plain(name)])} onChange={setOther} />}
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!loaded.data && !loaded.error && <Loading what="instances" />}
      {loaded.data?.problem && <p class="note"><Text>{loaded.data.problem}</Text></p>}
      {loaded.data && !loaded.data.problem && <p class="note">{whole(loaded.data.total)} rows differ{loaded.data.total > loaded.data.pairs.length ? `; the first ${whole(loaded.data.pairs.length)}:` : ""}</p>}
      {loaded.data && loaded.data.pairs.length > 0 && (
        <Wide label="instances with different scores">
          <table>
            <thead><tr><th scope="col">instance</th><th scope="col">perturbation</th><th scope="col">model</th><th scope="col">right answer</th><th scope="col"><Text>{first}</Text></th><th scope="col"><Text>{other}</Text></th></tr></thead>
            <tbody>
              {loaded.data.pairs.map(([a, b]) => (
                <tr key={a.row}>
                  <th scope="row"><Text>{a.instance_id}</Text></th><td><Text>{a.perturbation}</Text></td>
                  <td><Text>{a.model === b.model ? a.model : `${a.model}, ${b.model}`}</Text></td><td class="text"><Text>{a.right}</Text></td>
                  {cell(first, a)}{cell(other, b)}
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
    </Section>
  );
}
