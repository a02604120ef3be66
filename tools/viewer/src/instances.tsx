// The instances of a run: filters, charts of the matching rows, a list, and one instance.

import { useEffect, useRef, useState } from "preact/hooks";
import { Bars, Histogram } from "./charts";
import { decimal, outputLabel, plain, variant, whole } from "./format";
import { InstanceView } from "./instance";
import { useKeys } from "./keys";
import { NO_FILTERS, type Route } from "./route";
import type { Axis, Bars as BarsResult, Filters, FilterValues, Info, Instance, Key, Page, Row, Sibling } from "./types";
import { AXES } from "./types";
import { CopyButton, Loading, Problem, Select, Text, useApp, useDelayed, useRequest } from "./ui";

const KEY = ["scenario", "instance_id", "perturbation", "perturbation_seed", "setting", "trial", "model", "output_index",
  "reference_index", "request_mode", "window_index"] as const;

export function keyOf(row: Partial<Record<(typeof KEY)[number], string | number | null>>): Key {
  return Object.fromEntries(KEY.filter((name) => row[name] !== null && row[name] !== undefined).map((name) => [name, row[name] as string | number]));
}

const keyText = (key: Key | null): string => (key === null ? "" : KEY.map((name) => key[name] ?? "").join("\u001f"));

type InstancesRoute = Extract<Route, { view: "instances" }>;

export function InstancesPage({ route, keyTarget }: { route: InstancesRoute; keyTarget: EventTarget }) {
  const { run, filters, page, key } = route;
  const { transport, navigate, announce } = useApp();
  const values = useRequest<FilterValues>("filters", { run });
  const info = useRequest<Info>("info", { run });
  const loaded = useRequest<Page>("page", { run, filters, page });
  const instance = useRequest<Instance>("instance", { run, filters: { metric: filters.metric }, key }, key !== null);
  const [labels, setLabels] = useState<ReadonlyMap<string, number | null>>(new Map());
  const openAfterLoad = useRef<"first" | "last" | null>(null);
  const list = useRef<HTMLDivElement>(null);
  const one = useRef<HTMLDivElement>(null);
  const rows = loaded.data?.rows ?? [];
  const index = rows.findIndex((row) => keyText(keyOf(row)) === keyText(key));
  const go = (change: Partial<InstancesRoute>, replace = false) => navigate({ ...route, ...change }, replace);
  const open = (row: Row | Sibling, replace = false) => {
    const title = instance.data?.title ?? {};
    go({ key: keyOf({ ...("instance_id" in row ? {} : { scenario: title["scenario"] ?? null, instance_id: title["instance_id"] ?? null }), ...row }) }, replace);
  };
  const turn = (step: number, then: "first" | "last" | null) => {
    const target = page + step;
    if (!loaded.data || target < 0 || target >= loaded.data.pages) return;
    openAfterLoad.current = then;
    go({ page: target, key: then === null ? null : key });
  };
  const step = (direction: 1 | -1) => {
    const next = index < 0 ? rows[direction === 1 ? 0 : rows.length - 1] : rows[index + direction];
    if (next) open(next, key !== null);
    else turn(direction, direction === 1 ? "first" : "last");
  };
  useEffect(() => {
    const row = openAfterLoad.current === "first" ? rows[0] : openAfterLoad.current === "last" ? rows[rows.length - 1] : undefined;
    if (row && loaded.data?.page === page) {
      openAfterLoad.current = null;
      open(row, true);
    }
  }, [loaded.data]);
  useEffect(() => {
    list.current?.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  }, [index]);
  useEffect(() => {
    // on a narrow screen the instance replaces the list, so the focus moves to it
    if (key !== null && list.current?.offsetParent === null) one.current?.focus({ preventScroll: true });
  }, [keyText(key)]);
  useEffect(() => {
    if (loaded.data) announce(caption(loaded.data));
  }, [loaded.data]);
  useEffect(() => {
    const title = instance.data?.title;
    if (title && key) announce(plain(`instance ${title["instance_id"]}, ${variant(title)}, ${title["model"]}`));
  }, [instance.data]);
  const scale = values.data?.scale ?? [];
  const shownTitle = instance.data?.title;
  // a label belongs to the completion on the screen, not to one that is still loading
  const isShown = key !== null && shownTitle !== undefined && Object.entries(key).every(([name, value]) => shownTitle[name] === value);
  const currentKey = useRef("");
  currentKey.current = keyText(key);
  const isLabelling = useRef(false);
  const label = async (value: number | null) => {
    if (key === null || !isShown || isLabelling.current || currentKey.current !== keyText(key)) return;
    isLabelling.current = true;
    try {
      await transport.request("label", { run, key, label: value });
      setLabels(new Map(labels).set(keyText(key), value));
      announce(value === null ? "Label removed." : `Label ${decimal(value)} saved.`);
      if (value !== null && currentKey.current === keyText(key)) step(1);
    } catch (error) {
      announce((error as Error).message);
    } finally {
      isLabelling.current = false;
    }
  };
  const close = () => {
    const position = Math.max(0, index);
    go({ key: null });
    requestAnimationFrame(() => list.current?.querySelectorAll<HTMLElement>("tbody button")[position]?.focus());
  };
  const siblings = instance.data?.siblings ?? [];
  useKeys(keyTarget, (event) => {
    const scaleIndex = /^[0-9]$/.test(event.key) ? labelIndex(scale, Number(event.key)) : -1;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "n") turn(1, null);
    else if (event.key === "p") turn(-1, null);
    else if ((event.key === "]" || event.key === "[") && siblings.length > 0) {
      const current = siblings.findIndex((sibling) => sibling.row === instance.data?.row);
      const next = siblings[(current + (event.key === "]" ? 1 : siblings.length - 1)) % siblings.length];
      if (next) open(next, true);
    } else if (event.key === "Escape" && key !== null) close();
    else if (scaleIndex >= 0 && key !== null) void label(scale[scaleIndex] ?? null);
    else if (event.key === "x" && key !== null) void label(null);
    else return false;
    return true;
  });
  const unitOf = (metric: string | null | undefined): string => (metric && info.data?.metrics[metric]?.unit) || "fraction";
  const metric = filters.metric || values.data?.mains[0] || "";
  const currentLabel = key !== null && labels.has(keyText(key)) ? labels.get(keyText(key)) ?? null : instance.data?.label ?? null;
  if (values.error) return <Problem text={values.error} retry={values.retry} />;
  return (
    <>
      {values.data && <FilterForm run={run} filters={filters} values={values.data} change={(next) => go({ filters: next, page: 0, key: null })} />}
      {loaded.error && <Problem text={loaded.error} retry={loaded.retry} />}
      {values.data && <Charts run={run} filters={filters} values={values.data} unit={unitOf(metric)} change={(next) => go({ filters: next, page: 0, key: null })} />}
      <div class={`both ${key === null ? "" : "open"}`}>
        <div class="list" ref={list}>
          {!loaded.data && !loaded.error && <Loading what="instances" />}
          {loaded.data && <List page={loaded.data} labels={labels} current={key} loading={loaded.loading} axes={values.data?.axes ?? {}} open={(row) => open(row)} turn={(to) => go({ page: to, key: null })} />}
        </div>
        {key !== null && (
          <div class="one" role="region" aria-label="instance" tabIndex={-1} ref={one}>
            {instance.error && <Problem text={instance.error} retry={instance.retry} />}
            {!instance.data && !instance.error && <Loading what="the instance" />}
            {instance.data && (
              <InstanceView instance={instance.data} unitOf={unitOf} metric={metric} scale={scale} label={currentLabel} setLabel={(value) => void label(value)}
                open={(sibling) => open(sibling, true)} step={step} close={close} />
            )}
          </div>
        )}
      </div>
    </>
  );
}

/** Return the index of the label that a digit stands for: its value on a scale of digits, else its position from 1. */
export function labelIndex(scale: number[], digit: number): number {
  const isDigits = scale.every((value) => Number.isInteger(value) && value >= 0 && value <= 9);
  return isDigits ? scale.indexOf(digit) : digit >= 1 && digit <= scale.length ? digit - 1 : -1;
}

function FilterForm({ run, filters, values, change }: {
  run: string; filters: Filters; values: FilterValues; change: (filters: Filters) => void;
}) {
  const { transport } = useApp();
  const [text, setText] = useState(filters.find);
  const delayed = useDelayed(text, 400);
  useEffect(() => setText(filters.find), [filters.find]);
  useEffect(() => {
    if (delayed !== filters.find && delayed === text) change({ ...filters, find: delayed });
  }, [delayed]);
  const set = (name: keyof Filters, value: string | number | null) => change({ ...filters, [name]: value });
  const axes = AXES.filter((axis) => values.axes[axis] !== undefined);
  // by index: a value may be an empty string
  const axis = (name: Axis) => {
    const names = values.axes[name] ?? [];
    const value = filters[name];
    const options: [string, string][] = [["", "all"], ...names.map((item, index): [string, string] => [String(index), plain(item) || "(none)"])];
    return (
      <Select key={name} title={name} value={value === null ? "" : String(names.indexOf(value))} options={options}
        onChange={(choice) => set(name, choice === "" ? null : names[Number(choice)] ?? null)} />
    );
  };
  const bound = (name: "low" | "high", title: string) => (
    <label>
      <span>{title}</span>
      <input type="number" step="any" aria-label={title} value={filters[name] ?? ""}
        onChange={(event) => set(name, event.currentTarget.value === "" ? null : Number(event.currentTarget.value))} />
    </label>
  );
  const isFiltered = JSON.stringify(filters) !== JSON.stringify(NO_FILTERS);
  return (
    <form role="search" aria-label="filters" class="filters" onSubmit={(event) => { event.preventDefault(); change({ ...filters, find: text }); }}>
      <label class="search">
        <span>search inputs and completions</span>
        <input type="search" aria-label="search inputs and completions" data-search value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <Select title="rows" value={filters.only} options={Object.entries(values.only)} onChange={(value) => set("only", value)} />
      {axes.map(axis)}
      <Select title="order" value={filters.order} options={Object.entries(values.orders)} onChange={(value) => set("order", value)} />
      <details class="more">
        <summary>more</summary>
        <div class="filters">
          <Select title="metric" value={filters.metric} options={[["", `main: ${values.mains.join(", ") || "none"}`], ...values.metrics.map((name): [string, string] => [name, name])]} onChange={(value) => set("metric", value)} />
          {bound("low", "score from")}
          {bound("high", "score to")}
        </div>
      </details>
      {isFiltered && <button type="button" onClick={() => change(NO_FILTERS)}>Clear</button>}
      <CopyButton title="Copy rows as Python" text={async () => (await transport.request<{ python: string }>("code", { run, filters })).python} />
    </form>
  );
}

function Charts({ run, filters, values, unit, change }: {
  run: string; filters: Filters; values: FilterValues; unit: string; change: (filters: Filters) => void;
}) {
  const axes = AXES.filter((axis) => values.axes[axis] !== undefined);
  const [by, setBy] = useState<Axis>(axes[0] ?? "scenario");
  const [isOpen, setOpen] = useState(false);
  const loaded = useRequest<BarsResult>("bars", { run, filters, by }, isOpen);
  return (
    <details class="charts" open={isOpen} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Charts of these rows</summary>
      {loaded.error && <Problem text={loaded.error} />}
      {isOpen && !loaded.data && !loaded.error && <Loading what="charts" />}
      {loaded.data && (
        <div class="pair">
          <div>
            <Select title="mean score by" value={by} options={axes.map((axis) => [axis, axis])} onChange={(value) => setBy(value as Axis)} />
            <Bars bars={loaded.data.bars} low={loaded.data.low} high={loaded.data.high} unit={unit} selected={filters[by]} onSelect={(value) => change({ ...filters, [by]: filters[by] === value ? null : value })} />
            {loaded.data.more > 0 && <p class="note">{whole(loaded.data.more)} more values</p>}
          </div>
          <Histogram bins={loaded.data.histogram} unit={unit} onSelect={(low, high) => change({ ...filters, low, high })} />
        </div>
      )}
    </details>
  );
}

function caption(page: Page): string {
  const first = page.page * 50;
  return page.total === 0 ? "no rows" : `${whole(first + 1)}–${whole(first + page.rows.length)} of ${whole(page.total)} rows`;
}

const TITLES: Record<string, string> = {
  scenario: "scenario", perturbation: "perturbation", perturbation_seed: "seed", setting: "setting", trial: "trial", model: "model",
};

function List({ page, labels, current, axes, loading, open, turn }: {
  page: Page; labels: ReadonlyMap<string, number | null>; current: Key | null; axes: Partial<Record<Axis, string[]>>; loading: boolean;
  open: (row: Row) => void; turn: (page: number) => void;
}) {
  const box = useRef<HTMLTableSectionElement>(null);
  const columns = (["scenario", "perturbation", "perturbation_seed", "setting", "trial", "model"] as const)
    .filter((name) => axes[name as Axis] !== undefined || new Set(page.rows.map((row) => row[name])).size > 1);
  const outputs = new Set(page.rows.map(outputLabel)).size > 1;
  const anyLabel = page.rows.some((row) => row.label !== null) || labels.size > 0;
  const keys = (event: KeyboardEvent) => {
    const direction = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (direction === 0) return;
    const buttons = [...(box.current?.querySelectorAll<HTMLElement>("button") ?? [])];
    const target = buttons[buttons.indexOf(event.target as HTMLElement) + direction];
    if (target) {
      event.preventDefault();
      target.focus();
    }
  };
  const stop = Math.max(0, page.rows.findIndex((row) => keyText(keyOf(row)) === keyText(current)));
  return (
    <>
      <div class="wide scroll" role="region" aria-label="instances" tabIndex={0}>
        <table class="instances" aria-busy={loading}>
          <caption>{caption(page)}</caption>
          <thead>
            <tr>
              <th scope="col">instance</th>{columns.map((name) => <th scope="col" key={name}>{TITLES[name]}</th>)}{outputs && <th scope="col">output</th>}
              <th scope="col" class="number">score</th>{anyLabel && <th scope="col">label</th>}<th scope="col">completion</th><th scope="col">right answer</th><th scope="col">input</th>
            </tr>
          </thead>
          <tbody ref={box} onKeyDown={keys}>
            {page.rows.map((row, index) => {
              const text = keyText(keyOf(row));
              const isCurrent = text === keyText(current);
              const mark = labels.has(text) ? labels.get(text) : row.label;
              return (
                <tr key={row.row} aria-current={isCurrent ? "true" : undefined} class={isCurrent ? "selected" : ""} onClick={() => open(row)}>
                  <th scope="row"><button type="button" class="link" tabIndex={index === stop ? 0 : -1} onClick={(event) => { event.stopPropagation(); open(row); }}><Text>{row.instance_id}</Text></button></th>
                  {columns.map((name) => <td key={name}><Text>{row[name]}</Text></td>)}
                  {outputs && <td>{outputLabel(row)}</td>}
                  <td class={`number ${tone(row.score, row.error)}`}>{row.error !== null ? "failed" : row.score === null ? "none" : decimal(row.score)}{row.parsed === false && <small> unparsed</small>}</td>
                  {anyLabel && <td class="number">{decimal(mark)}</td>}
                  <td class={row.error === null ? "cut" : "cut problem"} dir="auto"><Text>{row.error ?? row.completion}</Text></td>
                  <td class="cut" dir="auto"><Text>{row.right}</Text></td>
                  <td class="cut" dir="auto"><Text>{row.input}</Text></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <nav class="pager" aria-label="pages">
        <button type="button" disabled={page.page === 0} onClick={() => turn(page.page - 1)}>Previous</button>
        <label>page <input type="number" min={1} max={page.pages} value={page.page + 1} aria-label="page" onChange={(event) => turn(Math.max(0, Math.trunc(Number(event.currentTarget.value)) - 1))} /> of {whole(page.pages)}</label>
        <button type="button" disabled={page.page + 1 >= page.pages} onClick={() => turn(page.page + 1)}>Next</button>
      </nav>
    </>
  );
}

export function tone(score: number | null, error: string | null): string {
  return error !== null || score === null ? "bad" : score === 0 ? "wrong" : score === 1 ? "right" : "";
}
