// The table of runs: sorted, filtered, searched; two or more runs are compared.

import { type ColumnDef, getCoreRowModel, getFilteredRowModel, getPaginationRowModel, getSortedRowModel } from "@tanstack/table-core";
import { useEffect, useMemo, useState } from "preact/hooks";
import { date, dollars, duration, interval, plain, score, some, whole } from "./format";
import { useTable } from "./table";
import type { RunEntry, Score } from "./types";
import { Link, Loading, Problem, Select, Text, useApp, useRequest } from "./ui";

const PAGE = 50;
const AT_ONCE = 2; // requests of scores
const scoresOfRuns = new Map<string, Score[] | string>();

export function RunsPage({ canReload }: { canReload: boolean }) {
  const [reloads, setReloads] = useState(0);
  const loaded = useRequest<{ runs: RunEntry[] }>("runs", reloads > 0 ? { reload: reloads } : {});
  if (loaded.error) return <Problem text={loaded.error} retry={loaded.retry} />;
  if (!loaded.data) return <Loading what="runs" />;
  const reload = () => {
    scoresOfRuns.clear();
    setReloads(reloads + 1);
  };
  return <RunsTable runs={loaded.data.runs} reload={canReload ? reload : null} />;
}

function RunsTable({ runs, reload }: { runs: RunEntry[]; reload: (() => void) | null }) {
  const { navigate } = useApp();
  const [nScores, countScores] = useState(0);
  // a new array, so that the table sorts again when a score arrives
  const data = useMemo(() => [...runs], [runs, nScores]);
  const columns = useMemo<ColumnDef<RunEntry>[]>(() => [
    { id: "run", header: "run", accessorFn: (run) => run.run },
    { id: "scenarios", header: "scenario", accessorFn: (run) => run.scenarios.join(" "), filterFn: (row, _, value) => row.original.scenarios.includes(value as string) },
    { id: "models", header: "model", accessorFn: (run) => run.models.join(" "), filterFn: (row, _, value) => row.original.models.includes(value as string) },
    { id: "started", header: "date (UTC)", accessorFn: (run) => run.started ?? 0, enableGlobalFilter: false, sortDescFirst: true },
    { id: "score", header: "main score", accessorFn: (run) => best(run.run)?.value ?? -Infinity, enableGlobalFilter: false, sortDescFirst: true },
    { id: "status", header: "status", accessorFn: (run) => run.status, filterFn: "equals" },
    { id: "planned", header: "requests", accessorFn: (run) => run.planned, enableGlobalFilter: false },
    { id: "failed", header: "failed", accessorFn: (run) => run.failed, enableGlobalFilter: false },
    { id: "cost", header: "cost", accessorFn: (run) => run.cost ?? -1, enableGlobalFilter: false },
  ], []);
  const table = useTable<RunEntry>({
    data, columns,
    getRowId: (run) => run.run,
    getCoreRowModel: getCoreRowModel(), getFilteredRowModel: getFilteredRowModel(),
    getSortedRowModel: getSortedRowModel(), getPaginationRowModel: getPaginationRowModel(),
    globalFilterFn: (row, column, value) => String(row.getValue(column) ?? "").toLowerCase().includes(String(value).toLowerCase()),
    getColumnCanGlobalFilter: () => true,
    initialState: { pagination: { pageIndex: 0, pageSize: PAGE } },
  });
  const shown = table.getRowModel().rows;
  useScores(shown.map((row) => row.original), () => countScores((number) => number + 1));
  // in the order of selection: the first one is the base of the comparison
  const selected = Object.keys(table.getState().rowSelection);
  const filter = (name: string): string => (table.getColumn(name)?.getFilterValue() as string | undefined) ?? "";
  const options = (values: string[]): [string, string][] => [["", "all"], ...[...new Set(values)].sort().map((value): [string, string] => [value, plain(value)])];
  const select = (name: string, title: string, values: string[]) => (
    <Select title={title} value={filter(name)} options={options(values)} onChange={(value) => table.getColumn(name)?.setFilterValue(value || undefined)} />
  );
  const total = table.getFilteredRowModel().rows.length;
  const { pageIndex } = table.getState().pagination;
  return (
    <>
      <h1>Runs</h1>
      <form role="search" aria-label="runs" class="filters" onSubmit={(event) => event.preventDefault()}>
        <label class="search">
          <span>search</span>
          <input type="search" aria-label="search runs" data-search value={(table.getState().globalFilter as string | undefined) ?? ""}
            onInput={(event) => table.setGlobalFilter(event.currentTarget.value)} />
        </label>
        {select("scenarios", "scenario", runs.flatMap((run) => run.scenarios))}
        {select("models", "model", runs.flatMap((run) => run.models))}
        {select("status", "status", runs.map((run) => run.status))}
        {reload && <button type="button" onClick={reload}>Reload</button>}
        <button type="button" class="primary" disabled={selected.length < 2} onClick={() => navigate({ view: "compare", runs: selected })}>
          Compare{selected.length > 0 ? ` ${selected.length} runs` : ""}
        </button>
      </form>
      <div class="wide" role="region" aria-label="runs" tabIndex={0}>
        <table class="runs">
          <caption>{whole(total)} of {whole(runs.length)} runs; select two or more to compare them</caption>
          <thead>
            <tr>
              <td><span class="spoken">select</span></td>
              {table.getFlatHeaders().map((header) => {
                const sorted = header.column.getIsSorted();
                return (
                  <th key={header.id} scope="col" class={["planned", "failed", "cost"].includes(header.id) ? "number" : undefined} aria-sort={sorted === "asc" ? "ascending" : sorted === "desc" ? "descending" : "none"}>
                    <button type="button" class="link" onClick={header.column.getToggleSortingHandler()}>
                      {String(header.column.columnDef.header)}<span aria-hidden="true">{sorted === "asc" ? " ↑" : sorted === "desc" ? " ↓" : ""}</span>
                    </button>
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <RunRow key={row.id} run={row.original} selected={row.getIsSelected()} toggle={() => row.toggleSelected()} />
            ))}
          </tbody>
        </table>
      </div>
      {table.getPageCount() > 1 && (
        <nav class="pager" aria-label="pages">
          <button type="button" disabled={!table.getCanPreviousPage()} onClick={() => table.previousPage()}>Previous</button>
          <span>page {pageIndex + 1} of {table.getPageCount()}</span>
          <button type="button" disabled={!table.getCanNextPage()} onClick={() => table.nextPage()}>Next</button>
        </nav>
      )}
    </>
  );
}

function RunRow({ run, selected, toggle }: { run: RunEntry; selected: boolean; toggle: () => void }) {
  return (
    <tr class={selected ? "selected" : ""}>
      <td><input type="checkbox" aria-label={`select ${plain(run.run)}`} checked={selected} onChange={toggle} disabled={run.problem !== null} /></td>
      <th scope="row">
        {run.problem === null ? <Link to={{ view: "summary", run: run.run }}><Text>{run.run}</Text></Link> : <Text>{run.run}</Text>}
        {run.problem !== null && <div class="problem"><Text>{run.problem}</Text></div>}
      </th>
      <td title={plain(run.scenarios.join(", "))}>{some(run.scenarios)}</td>
      <td title={plain(run.models.join(", "))}>{some(run.models)}</td>
      <td class="nowrap">{date(run.started)} <small>{duration(run.seconds)}</small></td>
      <td class="nowrap"><MainScore run={run} /></td>
      <td><span class={`status ${run.status === "done" ? "good" : run.status === "running" ? "" : "bad"}`}>{run.status}</span></td>
      <td class="number">{whole(run.planned)}</td>
      <td class={run.failed > 0 ? "number bad" : "number"}>{whole(run.failed)}</td>
      <td class="number">{dollars(run.cost)}</td>
    </tr>
  );
}

function MainScore({ run }: { run: RunEntry }) {
  const scores = scoresOfRuns.get(run.run);
  if (scores === undefined) return <span class="note">{run.problem === null ? "…" : ""}</span>;
  if (typeof scores === "string") return <span class="note" title={plain(scores)}>no score</span>;
  const first = best(run.run);
  if (!first) return <span class="note">no score</span>;
  const more = scores.length - 1;
  return (
    <span title={plain(`${first.scenario}, ${first.metric}, ${first.model}`)}>
      {score(first.value, first.unit)} <small>{interval(first.ci_low, first.ci_high, first.unit)}{more > 0 ? ` +${more}` : ""}</small>
    </span>
  );
}

function best(run: string): Score | null {
  const scores = scoresOfRuns.get(run);
  if (scores === undefined || typeof scores === "string") return null;
  const first = scores[0]?.scenario;
  const rows = scores.filter((row) => row.scenario === first && row.value !== null);
  return rows.reduce<Score | null>((top, row) => (top === null || (row.value ?? 0) > (top.value ?? 0) ? row : top), null);
}

/** Load the scores of the runs that are shown, a few at a time. */
function useScores(runs: RunEntry[], changed: () => void): void {
  const { transport } = useApp();
  const names = runs.filter((run) => run.problem === null).map((run) => run.run);
  useEffect(() => {
    let current = true;
    const queue = names.filter((name) => !scoresOfRuns.has(name));
    const work = async (): Promise<void> => {
      for (let name = queue.shift(); name !== undefined && current; name = queue.shift()) {
        try {
          scoresOfRuns.set(name, (await transport.request<{ scores: Score[] }>("main_scores", { run: name })).scores);
        } catch (error) {
          scoresOfRuns.set(name, (error as Error).message);
        }
        if (current) changed();
      }
    };
    for (let worker = 0; worker < AT_ONCE; worker++) void work();
    return () => {
      current = false;
    };
  }, [names.join("\n")]);
}
