// The pages of the viewer as values, and as the fragment of an address: a permalink.

import type { Filters, Key, Start } from "./types";

export type Route =
  | { view: "runs" }
  | { view: "compare"; runs: string[] }
  | { view: "summary"; run: string }
  | { view: "instances"; run: string; filters: Filters; page: number; key: Key | null };

export const NO_FILTERS: Filters = {
  metric: "", scenario: null, model: null, perturbation: null, setting: null, subset: null, low: null, high: null,
  only: "all", find: "", order: "run",
};
const NUMBERS = new Set(["low", "high"]);
const INTEGERS = new Set(["perturbation_seed", "trial", "output_index", "reference_index", "window_index"]);

export function startRoute(start: Start): Route {
  if (start.run === null) return { view: "runs" };
  if (start.tab === "summary") return { view: "summary", run: start.run };
  return { view: "instances", run: start.run, filters: { ...NO_FILTERS, ...start.filters }, page: 0, key: null };
}

export function instances(run: string, filters: Partial<Filters> = {}, key: Key | null = null): Route {
  return { view: "instances", run, filters: { ...NO_FILTERS, ...filters }, page: 0, key };
}

export function formatRoute(route: Route): string {
  if (route.view === "runs") return "#/runs";
  if (route.view === "compare") return `#/compare?${new URLSearchParams(route.runs.map((run) => ["run", run]))}`;
  const start = `#/run/${encodeURIComponent(route.run)}/${route.view}`;
  if (route.view === "summary") return start;
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(route.filters)) {
    if (value !== NO_FILTERS[name as keyof Filters]) query.set(name, String(value));
  }
  if (route.page > 0) query.set("page", String(route.page + 1));
  for (const [name, value] of Object.entries(route.key ?? {})) {
    if (value !== null) query.set(`key.${name}`, String(value));
  }
  const text = query.toString();
  return text ? `${start}?${text}` : start;
}

export function parseRoute(hash: string): Route | null {
  const [path = "", text = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const query = new URLSearchParams(text);
  const [view, run, tab] = path.split("/").map(decode);
  if (view === "runs") return { view: "runs" };
  if (view === "compare") return { view: "compare", runs: query.getAll("run") };
  if (view !== "run" || !run) return null;
  if (tab !== "instances") return { view: "summary", run };
  const filters: Record<string, string | number | null> = { ...NO_FILTERS };
  const key: Key = {};
  for (const [name, value] of query) {
    if (name.startsWith("key.")) key[name.slice(4)] = INTEGERS.has(name.slice(4)) ? Number(value) : value;
    else if (name in NO_FILTERS) filters[name] = NUMBERS.has(name) ? Number(value) : value;
  }
  const page = Math.max(0, Math.trunc(Number(query.get("page") ?? 1)) - 1) || 0;
  const hasKey = Object.keys(key).length > 0;
  return { view: "instances", run, filters: filters as unknown as Filters, page, key: hasKey ? key : null };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
