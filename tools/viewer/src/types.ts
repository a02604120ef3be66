// The values that the Python side sends; helmframe/views/viewer.py documents the methods.

export type Key = Record<string, string | number | null>;

export interface Filters {
  metric: string;
  scenario: string | null;
  model: string | null;
  perturbation: string | null;
  setting: string | null;
  subset: string | null;
  low: number | null;
  high: number | null;
  only: string;
  find: string;
  order: string;
}

export const AXES = ["scenario", "model", "perturbation", "setting", "subset"] as const;
export type Axis = (typeof AXES)[number];

export interface Start {
  run: string | null;
  tab: "summary" | "instances";
  filters: Filters | null;
}

export interface Opened {
  start: Start;
  n_runs: number;
  can_reload: boolean;
}

export interface RunEntry {
  run: string;
  status: string;
  started: number | null;
  seconds: number | null;
  problem: string | null;
  scenarios: string[];
  models: string[];
  perturbations: string[];
  planned: number;
  failed: number;
  cost: number | null;
  path: string | null;
}

export interface Score {
  run?: string;
  scenario: string;
  model: string;
  setting?: string | null;
  perturbation?: string;
  split?: string | null;
  metric: string;
  unit?: string;
  value: number | null;
  ci_low: number | null;
  ci_high: number | null;
  interval: string | null;
  n: number;
  chance?: number | null;
  n_error?: number;
  n_unparsed?: number;
}

export interface Info extends RunEntry {
  scenario_entries: { name: string; description: string; metric: string }[];
  plans: string[];
  versions: Record<string, string>;
  metrics: Record<string, { unit: string; higher_is_better: boolean | null }>;
  mains: string[];
  python: string;
}

export interface Finding {
  kind: string;
  text: string;
  table: string;
  row: Record<string, string>;
  estimate: number | null;
  low: number | null;
  high: number | null;
  significant: boolean | null;
}

export interface Board {
  rows: {
    model: string;
    value: number | null;
    rank: number | null;
    rank_low: number | null;
    rank_high: number | null;
    ties: string | null;
    ci_low: number | null;
    ci_high: number | null;
  }[];
  cells?: { model: string; column: string; value: number | null; ci_low: number | null; ci_high: number | null }[];
  columns?: string[];
  mean?: string;
  notes?: string[];
  problem?: string;
}

export interface Change {
  scenario: string;
  model: string;
  setting?: string | null;
  metric: string;
  perturbation: string;
  original: number | null;
  perturbed: number | null;
  change: number | null;
  change_low: number | null;
  change_high: number | null;
  right_to_wrong: number | null;
  wrong_to_right: number | null;
  interval: string | null;
  n: number;
  n_changed: number;
}

export interface Changes {
  rows: Change[];
  problem?: string;
}

export interface ErrorGroup {
  message: string;
  n: number;
  models: string[];
  first: Key;
}

export interface CostRow {
  role: string;
  model: string;
  n: number;
  n_stored: number;
  prompt_tokens: number | null;
  output_tokens: number | null;
  cost: number | null;
  full_cost: number | null;
  price: string | null;
}

export interface Labels {
  n: number;
  metric: string | null;
  corrected: Record<string, string | number | null>[];
  agreement: Record<string, string | number | null>[];
  problem: string | null;
  python: string;
}

export interface FilterValues {
  axes: Partial<Record<Axis, string[]>>;
  metrics: string[];
  mains: string[];
  only: Record<string, string>;
  orders: Record<string, string>;
  start: Filters;
  scale: number[];
}

export interface Row {
  row: number;
  scenario: string;
  instance_id: string;
  perturbation: string;
  perturbation_seed: number;
  setting: string;
  trial: number;
  model: string;
  output_index: number | null;
  reference_index: number | null;
  request_mode: string | null;
  window_index: number | null;
  subset: string | null;
  metric: string | null;
  score: number | null;
  parsed: boolean | null;
  input: string | null;
  completion: string | null;
  error: string | null;
  right: string;
  latency: number | null;
  label: number | null;
}

export interface Page {
  total: number;
  page: number;
  pages: number;
  rows: Row[];
}

export interface Bars {
  by: string;
  bars: { value: string | null; n: number; mean: number | null; without: number }[];
  more: number;
  low: number;
  high: number;
  histogram: { low: number; high: number; n: number }[];
}

export interface LongText {
  text: string;
  more: number;
}

export interface Completion {
  output_index: number | null;
  reference_index: number | null;
  request_mode: string | null;
  window_index: number | null;
  prefix: LongText;
  suffix: LongText;
  shots: number;
  continuation: LongText | null;
  completion: LongText | null;
  reasoning: LongText | null;
  output: LongText | null;
  parsed: boolean | null;
  error: LongText | null;
  logprob: number | null;
  token_logprobs: (number | null)[];
  tokens: number;
  facts: [string, string][];
}

export interface Sibling {
  row: number;
  perturbation: string;
  perturbation_seed: number;
  setting: string;
  trial: number;
  model: string;
  output_index: number | null;
  reference_index: number | null;
  request_mode: string | null;
  window_index: number | null;
  score: number | null;
  output: string;
  completion: string;
  error: string;
  label: number | null;
}

export interface Instance {
  row: number;
  title: Key;
  input: LongText;
  original: LongText;
  right: string;
  images: { digest: string; src: string | null; label: string }[];
  change: [string, string][] | null;
  references: { text: LongText; correct: boolean }[];
  choices: string[];
  own: [string, LongText][];
  completions: Completion[];
  more_completions: number;
  scores: ({ metric: string; score: number | null; reason: string | null } & Partial<Sibling>)[];
  verdicts: {
    metric: string;
    judge: string;
    order: number;
    against: string | null;
    value: number | null;
    verdict: string | null;
    reasoning: LongText | null;
    reply: LongText | null;
    error: string | null;
  }[];
  siblings: Sibling[];
  label: number | null;
  python: string;
}

export interface Difference {
  run: string;
  scenario?: string;
  metric: string;
  a: string;
  b: string;
  value_a: number | null;
  value_b: number | null;
  difference: number | null;
  ci_low: number | null;
  ci_high: number | null;
  p_holm: number | null;
  unit: string;
  n: number;
  model?: string;
  setting?: string;
  perturbation?: string;
}

export interface Pairs {
  total: number;
  pairs: [Row, Row][];
  problem: string | null;
}

export interface ComparisonResult {
  runs: string[];
  scores: Score[];
  differences: Difference[];
  notes: { run: string; text: string }[];
}
