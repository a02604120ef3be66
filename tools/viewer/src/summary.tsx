// The summary of a run: findings in words, scores, leaderboard, perturbations, failures, cost, labels.

import { useState } from "preact/hooks";
import { type Dot, DotChart } from "./charts";
import { date, dollars, duration, interval, plain, score, short, signed, some, whole } from "./format";
import { instances } from "./route";
import type { Board, Change, Changes, CostRow, ErrorGroup, Filters, Finding, Info, Labels, Score } from "./types";
import { Block, CopyButton, Link, type Loaded, Loading, Problem, Section, Select, Text, useRequest, Wide } from "./ui";

/** What is selected in the charts and tables of the summary. */
export interface Selection {
  model: string | null;
  perturbation: string | null;
}

export function SummaryPage({ run }: { run: string }) {
  const info = useRequest<Info>("info", { run });
  const [selection, setSelection] = useState<Selection>({ model: null, perturbation: null });
  // one after the other: the server computes the tables of a large run in seconds
  const scores = useRequest<{ rows: Score[]; notes: string[] }>("scores", { run }, info.data !== null);
  const findings = useRequest<{ findings: Finding[] }>("findings", { run }, isDone(scores));
  const ready = isDone(findings);
  if (info.error) return <Problem text={info.error} retry={info.retry} />;
  if (!info.data) return <Loading what="the run" />;
  const props = { run, scores, ready, info: info.data, selection, select: (change: Partial<Selection>) => setSelection({ ...selection, ...change }) };
  return (
    <>
      <Facts info={info.data} />
      <Findings run={run} loaded={findings} />
      <SelectionBar {...props} />
      <Scores {...props} />
      <Leaderboard {...props} />
      <Perturbations {...props} />
      <Failures run={run} ready={ready} />
      <Cost run={run} ready={ready} />
      <LabelSection run={run} ready={ready} />
      <Section title="Plan">
        {info.data.plans.map((plan, index) => (
          <details key={index}>
            <summary>plan {info.data && info.data.plans.length > 1 ? index + 1 : "as YAML"}</summary>
            <Block text={{ text: plan, more: 0 }} label="plan" />
          </details>
        ))}
        <p class="note">{Object.entries(info.data.versions).map(([name, version]) => `${name} ${version}`).join(", ")}</p>
      </Section>
    </>
  );
}

const isDone = <T,>(loaded: Loaded<T>): boolean => loaded.data !== null || loaded.error !== null;

interface Props {
  run: string;
  scores: Loaded<{ rows: Score[]; notes: string[] }>;
  ready: boolean;
  info: Info;
  selection: Selection;
  select: (change: Partial<Selection>) => void;
}

function Facts({ info }: { info: Info }) {
  const facts: [string, string][] = [
    ["status", info.status], ["date", `${date(info.started)}${info.started ? " UTC" : ""} ${duration(info.seconds) && `(${duration(info.seconds)})`}`],
    ["scenarios", some(info.scenarios, 5)], ["models", some(info.models, 8)], ["perturbations", some(info.perturbations, 8)],
    ["requests", info.planned ? whole(info.planned) : ""], ["failed", info.failed ? whole(info.failed) : ""],
    ["cost", dollars(info.cost)], ["folder", info.path ?? ""],
  ];
  return (
    <>
      <dl class="facts">
        {facts.filter(([, value]) => value.trim()).map(([name, value]) => <div key={name}><dt>{name}</dt><dd><Text>{value}</Text></dd></div>)}
      </dl>
      <CopyButton title="Copy as Python" text={info.python} shortcut="c" />
    </>
  );
}

const KINDS: Record<string, string> = {
  failures: "failures", scores: "score", models: "models", settings: "settings", robustness: "robustness", fairness: "fairness",
};

function Findings({ run, loaded }: { run: string; loaded: Loaded<{ findings: Finding[] }> }) {
  return (
    <Section title="Findings">
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!isDone(loaded) && <Loading what="findings" />}
      {loaded.data?.findings.length === 0 && <p class="note">No scores yet.</p>}
      <ul class="findings">
        {loaded.data?.findings.map((finding, index) => (
          <li key={index} class={`${finding.kind} ${finding.significant ? "significant" : ""}`}>
            <span class="tag">{KINDS[finding.kind] ?? finding.kind}</span>
            <span class="sentence"><Text>{finding.text}</Text> <FindingLink run={run} finding={finding} /></span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function FindingLink({ run, finding }: { run: string; finding: Finding }) {
  const { row, kind } = finding;
  let filters: Partial<Filters> | null = null;
  if (kind === "failures") filters = { only: finding.table === "results.errors()" ? "failed" : row["column"] === "n_unparsed" ? "unparsed" : "all" };
  else if (kind === "models" && row["a"]) filters = { only: "disagree", perturbation: "original", model: row["a"] };
  else if ((kind === "robustness" || kind === "fairness") && row["perturbation"]) {
    filters = { only: "flipped", perturbation: row["perturbation"], model: row["model"] ?? null };
  } else if (kind === "scores" && row["model"]) filters = { only: "wrong", model: row["model"], perturbation: "original" };
  if (!filters || filters.only === "all") return null;
  const words = { failed: "failed requests", unparsed: "unparsed completions", disagree: "where models disagree", flipped: "flipped instances", wrong: "wrong completions" };
  const name = words[filters.only as keyof typeof words];
  return <Link to={instances(run, filters)} class="more" label={`Show ${name}: ${plain(finding.text)}`}>Show {name}</Link>;
}

function SelectionBar({ run, selection, select }: Props) {
  const { model, perturbation } = selection;
  if (model === null && perturbation === null) return <p class="note">Select a model or a perturbation in a chart or table to follow it through the page.</p>;
  return (
    <p class="selection" role="status">
      Selected: {model !== null && <b><Text>{model}</Text></b>}{model !== null && perturbation !== null && ", "}{perturbation !== null && <b><Text>{perturbation}</Text></b>}{" "}
      <Link to={instances(run, { model, perturbation })}>Show these instances</Link>{" "}
      <button type="button" onClick={() => select({ model: null, perturbation: null })}>Clear</button>
    </p>
  );
}

const faded = (selected: string | null, value: string | undefined): boolean => selected !== null && selected !== value;

function Scores({ run, info, scores: loaded, selection, select }: Props) {
  const perturbations = [...new Set(loaded.data?.rows.map((row) => row.perturbation ?? "") ?? [])];
  const [chosen, setChosen] = useState("original");
  const perturbation = perturbations.includes(chosen) ? chosen : perturbations[0] ?? "";
  const rows = (loaded.data?.rows ?? []).filter((row) => (row.perturbation ?? "") === perturbation);
  const metrics = [...new Set(rows.map((row) => row.metric))];
  const unit = (metric: string): string => info.metrics[metric]?.unit ?? "fraction";
  const dots = (metric: string): Dot[] => rows.filter((row) => row.metric === metric).map((row) => ({
    id: [row.scenario, row.split, row.model, row.setting].join("\u001f"), label: row.model + (row.setting ? `, ${row.setting}` : ""),
    group: row.scenario + (row.split ? `, ${row.split}` : ""), value: row.value, low: row.ci_low, high: row.ci_high, chance: row.chance ?? null,
    faded: faded(selection.model, row.model), selected: selection.model === row.model,
  }));
  const modelOf = (dot: Dot): string => dot.id.split("\u001f")[2] ?? "";
  const choose = (dot: Dot) => select({ model: selection.model === modelOf(dot) ? null : modelOf(dot) });
  const settings = rows.some((row) => row.setting);
  return (
    <Section title="Scores">
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!isDone(loaded) && <Loading what="scores" />}
      {perturbations.length > 1 && (
        <Select title="perturbation" value={perturbation} options={perturbations.map((name) => [name, plain(name) || "(none)"])} onChange={setChosen} />
      )}
      {metrics.map((metric) => (
        <figure key={metric}>
          <figcaption><Text>{metric}</Text>{unit(metric) === "fraction" ? " in %" : ""}, 95 % intervals{rows.some((row) => row.chance) ? "; dashed line: guessing" : ""}</figcaption>
          {rows.length <= 60 && <DotChart dots={dots(metric)} unit={unit(metric)} label={`${plain(metric)} by scenario and model`} onSelect={choose} />}
        </figure>
      ))}
      {rows.length > 0 && (
        <details open={rows.length <= 12}>
          <summary>table of scores</summary>
          <Wide label="scores">
            <table>
              <thead>
                <tr>
                  <th scope="col">scenario</th><th scope="col">model</th>{settings && <th scope="col">setting</th>}<th scope="col">metric</th>
                  <th scope="col" class="number">score</th><th scope="col" class="number">interval</th><th scope="col" class="number">n</th><th scope="col" class="number">without score</th><th scope="col" class="number">unparsed</th>
                </tr>
              </thead>
              <tbody>
                {rows.map((row, index) => (
                  <tr key={index} class={faded(selection.model, row.model) ? "faded" : ""}>
                    <td><Text>{row.scenario}</Text></td>
                    <th scope="row"><Link to={instances(run, { scenario: info.scenarios.length > 1 ? row.scenario : null, model: row.model, perturbation: row.perturbation ?? null, setting: row.setting ?? null })}><Text>{row.model}</Text></Link></th>
                    {settings && <td><Text>{row.setting}</Text></td>}<td><Text>{row.metric}</Text></td>
                    <td class="number">{score(row.value, unit(row.metric))}</td>
                    <td class="number">{interval(row.ci_low, row.ci_high, unit(row.metric)) || <small><Text>{row.interval}</Text></small>}</td>
                    <td class="number">{whole(row.n)}</td>
                    <td class={row.n_error ? "number bad" : "number"}>{whole(row.n_error ?? 0)}</td>
                    <td class={row.n_unparsed ? "number bad" : "number"}>{whole(row.n_unparsed ?? 0)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Wide>
        </details>
      )}
      <ul class="notes">{loaded.data?.notes.map((note, index) => <li key={index}><Text>{note}</Text></li>)}</ul>
    </Section>
  );
}

function Leaderboard({ run, info, ready, selection, select }: Props) {
  const loaded = useRequest<Board>("leaderboard", { run }, ready && info.models.length > 1);
  if (info.models.length < 2) return null;
  const board = loaded.data;
  const mean = board?.mean === "win_rate" ? "win rate" : "mean";
  return (
    <Section title="Leaderboard">
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!isDone(loaded) && <Loading what="the leaderboard" />}
      {board?.problem && <p class="note"><Text>{board.problem}</Text></p>}
      {board && board.rows.length > 0 && (
        <Wide label="leaderboard">
          <table>
            <thead>
              <tr>
                <th scope="col" class="number">rank</th><th scope="col" class="number">rank interval</th><th scope="col">ties</th><th scope="col">model</th><th scope="col" class="number">{mean}</th>
                <th scope="col" class="number">interval</th>{board.columns?.map((column) => <th scope="col" class="number" key={column}><Text>{column}</Text></th>)}
              </tr>
            </thead>
            <tbody>
              {board.rows.map((row) => (
                <tr key={row.model} class={faded(selection.model, row.model) ? "faded" : selection.model === row.model ? "selected" : ""}>
                  <td class="number">{row.rank}</td>
                  <td class="number">{row.rank_low === row.rank_high ? row.rank_low : `${row.rank_low}–${row.rank_high}`}</td>
                  <td>{row.ties}</td>
                  <th scope="row">
                    <button type="button" class="link" aria-pressed={selection.model === row.model} onClick={() => select({ model: selection.model === row.model ? null : row.model })}><Text>{row.model}</Text></button>
                  </th>
                  <td class="number">{score(row.value)}</td><td class="number">{interval(row.ci_low, row.ci_high)}</td>
                  {board.columns?.map((column) => {
                    const cell = board.cells?.find((other) => other.model === row.model && other.column === column);
                    const metric = info.scenario_entries.find((entry) => entry.name === column)?.metric ?? column;
                    return <td key={column} class="number">{score(cell?.value, info.metrics[metric]?.unit ?? "number")}</td>;
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </Wide>
      )}
      <ul class="notes">{board?.notes?.map((note, index) => <li key={index}><Text>{note}</Text></li>)}</ul>
    </Section>
  );
}

function Perturbations({ run, info, ready, selection, select }: Props) {
  const loaded = useRequest<Changes>("changes", { run }, ready && info.perturbations.length > 0);
  const scenarios = [...new Set(loaded.data?.rows.map((row) => row.scenario) ?? [])];
  const [chosen, setChosen] = useState("");
  if (info.perturbations.length === 0) return null;
  const scenario = scenarios.includes(chosen) ? chosen : scenarios[0] ?? "";
  const main = info.scenario_entries.find((entry) => entry.name === scenario)?.metric;
  const ofScenario = (loaded.data?.rows ?? []).filter((row) => row.scenario === scenario);
  const rows = ofScenario.some((row) => row.metric === main) ? ofScenario.filter((row) => row.metric === main) : ofScenario;
  return (
    <Section title="Changes under perturbations">
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {!isDone(loaded) && <Loading what="changes under perturbations" />}
      {loaded.data?.problem && <p class="note"><Text>{loaded.data.problem}</Text></p>}
      {scenarios.length > 1 && <Select title="scenario" value={scenario} options={scenarios.map((name) => [name, plain(name)])} onChange={setChosen} />}
      {rows.length > 0 && <Heatmap run={run} rows={rows} info={info} scenario={scenarios.length > 1 ? scenario : null} selection={selection} select={select} />}
    </Section>
  );
}

function Heatmap({ run, rows, info, scenario, selection, select }: {
  run: string; rows: Change[]; info: Info; scenario: string | null; selection: Selection; select: (change: Partial<Selection>) => void;
}) {
  const side = (row: Change): string => row.model + (row.setting ? `, ${row.setting}` : "");
  const sides = [...new Set(rows.map(side))];
  const perturbations = [...new Set(rows.map((row) => row.perturbation))];
  const metric = rows[0]?.metric ?? "";
  const unit = info.metrics[metric]?.unit ?? "fraction";
  const better = info.metrics[metric]?.higher_is_better !== false ? 1 : -1;
  const most = Math.max(unit === "fraction" ? 0.1 : 1e-9, ...rows.map((row) => Math.abs(row.change ?? 0)));
  const points = unit === "fraction" ? "points" : unit;
  return (
    <>
      <p class="note">Change of <Text>{metric}</Text> in {points}, perturbed − original, on changed inputs; bold: the 95 % interval excludes 0. A cell opens its flipped instances.</p>
      <Wide label="changes under perturbations">
        <table class="heatmap">
          <thead>
            <tr><td />{sides.map((name) => <th scope="col" key={name} class={selection.model !== null && !name.startsWith(selection.model) ? "faded" : ""}><Text>{name}</Text></th>)}</tr>
          </thead>
          <tbody>
            {perturbations.map((perturbation) => (
              <tr key={perturbation} class={faded(selection.perturbation, perturbation) ? "faded" : ""}>
                <th scope="row">
                  {perturbation === "all" ? "all together" : (
                    <button type="button" class="link" aria-pressed={selection.perturbation === perturbation} onClick={() => select({ perturbation: selection.perturbation === perturbation ? null : perturbation })}><Text>{perturbation}</Text></button>
                  )}
                </th>
                {sides.map((name) => {
                  const row = rows.find((other) => other.perturbation === perturbation && side(other) === name);
                  if (!row || row.change === null) return <td key={name} class="number">–</td>;
                  const significant = row.change_low !== null && row.change_high !== null && (row.change_low > 0 || row.change_high < 0);
                  const size = Math.round((70 * Math.abs(row.change)) / most);
                  const tone = row.change * better < 0 ? "worse" : "better";
                  const flips = row.right_to_wrong === null ? "" : `, right→wrong ${row.right_to_wrong}, wrong→right ${row.wrong_to_right}`;
                  const text = `${signed(row.change, unit)} ${interval(row.change_low, row.change_high, unit)}`;
                  const label = `${plain(perturbation)}, ${plain(name)}: ${text}${flips}, n = ${row.n_changed}`;
                  return (
                    <td key={name} class={`cell ${tone} ${faded(selection.model, row.model) ? "faded" : ""}`} style={{ "--share": `${size}%` }} title={label}>
                      <Link to={instances(run, { scenario, model: row.model, setting: row.setting || null, perturbation: perturbation === "all" ? null : perturbation, only: "flipped" })} label={label}>
                        {significant ? <b>{signed(row.change, unit)}</b> : signed(row.change, unit)}
                        <small>{interval(row.change_low, row.change_high, unit)}</small>
                      </Link>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
    </>
  );
}

function Failures({ run, ready }: { run: string; ready: boolean }) {
  const loaded = useRequest<{ groups: ErrorGroup[] }>("errors", { run }, ready);
  if (loaded.error) return <Problem text={loaded.error} retry={loaded.retry} />;
  const groups = loaded.data?.groups ?? [];
  if (groups.length === 0) return null;
  return (
    <Section title="Failed requests">
      <Wide label="failed requests">
        <table>
          <thead><tr><th scope="col" class="number">requests</th><th scope="col">message</th><th scope="col">models</th><th scope="col">first</th></tr></thead>
          <tbody>
            {groups.map((group, index) => (
              <tr key={index}>
                <td class="number">{whole(group.n)}</td><td class="text"><Text>{group.message}</Text></td><td>{some(group.models)}</td>
                <td><Link to={instances(run, { only: "failed" }, group.first)}><Text>{String(group.first["instance_id"])}</Text></Link></td>
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
      <p><Link to={instances(run, { only: "failed" })}>Show all failed requests</Link></p>
    </Section>
  );
}

function Cost({ run, ready }: { run: string; ready: boolean }) {
  const loaded = useRequest<{ rows: CostRow[] }>("cost", { run }, ready);
  const rows = loaded.data?.rows ?? [];
  if (rows.length === 0) return null;
  const tokens = (value: number | null): string => (value === null ? "" : whole(value));
  return (
    <Section title="Tokens and cost">
      <Wide label="tokens and cost">
        <table>
          <thead>
            <tr>
              <th scope="col">role</th><th scope="col">model</th><th scope="col" class="number">requests</th><th scope="col" class="number">from the store</th><th scope="col" class="number">prompt tokens</th>
              <th scope="col" class="number">output tokens</th><th scope="col" class="number">cost of this run</th><th scope="col" class="number">cost of all requests</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row, index) => (
              <tr key={index}>
                <td>{row.role}</td><th scope="row"><Text>{row.model}</Text></th><td class="number">{whole(row.n)}</td><td class="number">{whole(row.n_stored)}</td>
                <td class="number">{tokens(row.prompt_tokens)}</td><td class="number">{tokens(row.output_tokens)}</td>
                <td class="number">{dollars(row.cost) || "unknown"}</td><td class="number">{dollars(row.full_cost) || "unknown"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
    </Section>
  );
}

function LabelSection({ run, ready }: { run: string; ready: boolean }) {
  const loaded = useRequest<Labels>("labels", { run }, ready);
  const labels = loaded.data;
  if (!labels) return null;
  const heads = Object.keys(labels.corrected[0] ?? {}).filter((name) => !["interval", "stderr", "pooled"].includes(name));
  const cell = (value: string | number | null | undefined): string => (value === null || value === undefined ? "" : typeof value === "number" ? short(value) : value);
  return (
    <Section title="Labels by people">
      {labels.n === 0 ? (
        <p>No completion has a label. <Link to={instances(run, { order: "random", only: "unlabelled" })}>Label a random sample</Link>: one key sets a label and opens the next completion.</p>
      ) : (
        <p>{whole(labels.n)} completions have a label. <Link to={instances(run, { only: "labelled" })}>Show them</Link>, or <Link to={instances(run, { order: "random", only: "unlabelled" })}>label more</Link>. <CopyButton title="Copy as Python" text={labels.python} /></p>
      )}
      {labels.problem && <p class="note"><Text>{labels.problem}</Text></p>}
      {labels.corrected.length > 0 && (
        <Wide label="scores corrected by labels">
          <table>
            <caption><Text>{labels.metric}</Text> corrected by the labels (prediction-powered); the labels must be a random sample</caption>
            <thead><tr>{heads.map((head) => <th scope="col" key={head}>{head}</th>)}</tr></thead>
            <tbody>{labels.corrected.map((row, index) => <tr key={index}>{heads.map((head) => <td key={head}><Text>{cell(row[head])}</Text></td>)}</tr>)}</tbody>
          </table>
        </Wide>
      )}
      {labels.agreement.length > 0 && (
        <Wide label="agreement of judges and people">
          <table>
            <caption>agreement of judges and people</caption>
            <thead><tr>{Object.keys(labels.agreement[0] ?? {}).map((head) => <th scope="col" key={head}>{head}</th>)}</tr></thead>
            <tbody>{labels.agreement.map((row, index) => <tr key={index}>{Object.values(row).map((value, column) => <td key={column}><Text>{cell(value)}</Text></td>)}</tr>)}</tbody>
          </table>
        </Wide>
      )}
    </Section>
  );
}
