// The explorer of results, for notebooks (anywidget) and for the page of `helmframe view`.
// Texts of models and data are inserted as text nodes, never as markup. All data comes from `query`.

const STYLE = `
:host { display: block; font: 14px/1.45 system-ui, sans-serif; color: var(--jp-ui-font-color1, CanvasText); }
* { box-sizing: border-box; }
form { display: flex; flex-wrap: wrap; gap: .5em 1em; align-items: end; margin-bottom: .6em; }
label { display: grid; font-size: 12px; gap: 2px; }
input, select, button { font: inherit; color: inherit; background: transparent; padding: 3px 6px; border-radius: 4px;
  border: 1px solid color-mix(in srgb, currentColor 45%, transparent); max-width: 18em; }
option { color: CanvasText; background: Canvas; }
input[type=number] { width: 6em; }
button { cursor: pointer; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 2px solid #0072b2; outline-offset: 1px; }
.bars { display: grid; grid-template-columns: max-content minmax(6em, 18em) max-content; gap: 2px 8px;
  align-items: center; margin: 0 0 .6em; font-size: 12px; max-height: 15em; overflow-y: auto; padding: 3px; }
.bars button { text-align: left; border: 0; padding: 1px 2px; text-decoration: underline; overflow-wrap: anywhere; }
.track { background: color-mix(in srgb, currentColor 12%, transparent); height: 12px; }
.track i { display: block; height: 100%; background: #0072b2; }
.both { display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-start; }
.list { flex: 3 1 26em; min-width: 0; }
.one { flex: 4 1 26em; min-width: 0; max-height: 46em; overflow: auto; padding: 0 4px; }
.one:empty { display: none; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.by { display: flex; gap: .5em; align-items: center; }
.scroll { overflow: auto; max-height: 40em; }
table { border-collapse: collapse; font-size: 12px; width: 100%; }
caption { text-align: left; font-size: 12px; padding: 2px 0; }
th, td { text-align: left; padding: 3px 6px; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
td { overflow-wrap: anywhere; max-width: 16em; }
tbody td:first-child { min-width: 11em; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.cut { max-width: 13em; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
tr[aria-current] { background: color-mix(in srgb, #0072b2 18%, transparent); }
tbody tr { cursor: pointer; }
td button { border: 0; padding: 0 2px; text-decoration: underline; text-align: left; overflow-wrap: anywhere; }
h3 { font-size: 14px; margin: 0 0 .3em; overflow-wrap: anywhere; }
h4 { font-size: 12px; margin: .8em 0 .2em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: 5px 7px; max-height: 22em; overflow: auto;
  font: 12px/1.5 ui-monospace, monospace; unicode-bidi: isolate; border-radius: 4px;
  background: color-mix(in srgb, currentColor 6%, transparent); }
ul { margin: 0; padding-left: 1.5em; font-size: 12px; overflow-wrap: anywhere; }
summary { cursor: pointer; font-size: 12px; }
del { background: #d55e0040; } ins { background: #009e7350; text-decoration: none; border-bottom: 2px solid #009e73; }
.unseen { font-size: 10px; border: 1px dotted; border-radius: 3px; }
.strip { display: flex; flex-wrap: wrap; } .strip i { width: 9px; height: 18px; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(14em, 1fr)); gap: 6px; }
.note { font-size: 12px; opacity: .8; } .problem { color: #d55e00; font-weight: 600; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; align-items: end; }
.pager { display: flex; gap: .6em; align-items: center; margin: .4em 0; font-size: 12px; }
`;

const TITLES = { scenario: "scenario", instance_id: "instance", perturbation: "perturbation", perturbation_seed: "seed",
  setting: "setting", trial: "trial", model: "model", output_index: "output", reference_index: "option",
  request_mode: "request", window_index: "window" };
// control, zero-width and direction characters, which change the display invisibly
const INVISIBLE = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff])/;

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function shown(text) {
  return String(text).split(INVISIBLE).filter((piece) => piece !== "").map((piece) => INVISIBLE.test(piece)
    ? el("span", { class: "unseen" }, `⟨U+${piece.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    : document.createTextNode(piece));
}

const whole = (value) => value.toLocaleString("en");
const number = (value) => (value === null || value === undefined ? "" : value.toFixed(3));

function block(text, label) {
  const box = el("pre", { dir: "auto", tabindex: "0", role: "region", "aria-label": label }, ...shown(text.text));
  return text.more ? el("div", {}, box, el("div", { class: "note" }, `${whole(text.more)} more characters`)) : box;
}

function picture(image) {
  const safe = typeof image.src === "string" && /^data:image\/png;base64,[A-Za-z0-9+/=]*$/.test(image.src);
  return safe ? el("img", { src: image.src, alt: image.label, title: image.label }) : el("span", { class: "note" }, ...shown(image.label));
}

function section(title, ...children) {
  return el("section", {}, el("h4", {}, title), ...children);
}

function pairs(rows) {
  return el("table", {}, el("tbody", {}, ...rows.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, ...shown(name)), el("td", {}, ...shown(value))))));
}

function grid(caption, heads, rows) {
  return el("table", {}, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, ...rows));
}

function outputLabel(row) {
  return ["output_index", "reference_index", "request_mode", "window_index"]
    .filter((name) => row[name] !== null && row[name] !== undefined).map((name) => `${TITLES[name]} ${row[name]}`).join(", ");
}

function variant(row) {
  return [row.perturbation, row.perturbation_seed ? `seed ${row.perturbation_seed}` : "", row.setting,
    row.trial ? `trial ${row.trial}` : ""].filter(Boolean).join(", ");
}

function strip(record) {
  const values = record.token_logprobs;
  if (!values.length) return null;
  const least = values.indexOf(Math.min(...values.filter((value) => value !== null)));
  const summary = `${whole(record.tokens)} tokens` + (record.logprob === null ? "" : `, ${number(record.logprob)} nats in total`)
    + (least < 0 ? "" : `; least likely: token ${least + 1}, ${number(values[least])} nats`);
  const cells = values.map((value, index) => {
    const cell = el("i", { title: `token ${index + 1}: ` + (value === null ? "unknown" : `${number(value)} nats, p = ${number(Math.exp(value))}`) });
    // transparent at p = 1, full colour at 5 nats (p = 0.007)
    cell.style.background = `color-mix(in srgb, #d55e00 ${Math.min(100, Math.max(0, -value * 20)).toFixed(0)}%, #56b4e922)`;
    return cell;
  });
  return section("log-probabilities (stronger colour: less likely)",
    el("div", { class: "strip", role: "img", "aria-label": summary }, ...cells), el("div", { class: "note" }, summary),
    el("details", {}, el("summary", {}, "values in nats"), block({ text: values.map(number).join("  "), more: 0 }, "log-probabilities")));
}

function changeSection(pieces) {
  const sides = [0, 1].map((side) => el("pre", { dir: "auto", tabindex: "0", role: "region",
    "aria-label": side ? "perturbed input" : "original input" }, ...pieces.flatMap((piece) => {
    if (!piece[side]) return [];
    return piece[0] === piece[1] ? shown(piece[side]) : [el(side ? "ins" : "del", {}, ...shown(piece[side]))];
  })));
  return section("original and perturbed input", el("div", { class: "two" }, ...sides));
}

function completionSection(record, several) {
  const suffix = several ? `, ${outputLabel(record)}` : "";
  const start = record.prefix.text ? el("details", {}, el("summary", {},
    `start of the prompt: ${record.shots} few-shot examples, ${whole(record.prefix.text.length + record.prefix.more)} characters`),
  block(record.prefix, "start of the prompt")) : null;
  return el("div", {},
    section(`prompt as sent${suffix}`, start, block(record.suffix, "prompt")),
    record.continuation && section("scored continuation", block(record.continuation, "continuation")),
    record.error && section("error", el("div", { class: "problem" }, ...shown(record.error.text))),
    record.reasoning && section("reasoning", block(record.reasoning, "reasoning")),
    record.completion && section(`completion${suffix}`, block(record.completion, "completion")),
    record.completion && section("parsed output", record.output ? block(record.output, "parsed output")
      : el("div", { class: "problem" }, "the completion could not be parsed")),
    strip(record),
    el("details", {}, el("summary", {}, "tokens, latency, decoding"), pairs(record.facts)));
}

function verdicts(rows) {
  return section("verdicts of judges", ...rows.map((row) => el("div", {},
    el("div", {}, ...shown(`${row.judge}, ${row.metric}: ${row.value ?? row.verdict ?? row.error ?? ""}`)),
    row.reasoning && block(row.reasoning, "reasons of the judge"))));
}

class View {
  constructor(root, query) {
    this.query = query;
    this.root = root;
    this.page = 0;
    this.requestNumber = 0; // responses to earlier page requests are dropped
    this.row = null;
    this.form = el("form", { role: "search", "aria-label": "filters", onsubmit: (event) => event.preventDefault() });
    this.barsBox = el("div");
    this.listBox = el("div", { class: "list" });
    this.oneBox = el("div", { class: "one", role: "region", "aria-label": "instance", tabindex: "-1" });
    this.status = el("div", { role: "status", class: "spoken" });
    this.problem = el("div", { role: "alert", class: "problem" });
    root.append(this.form, this.barsBox, this.status, this.problem, el("div", { class: "both" }, this.listBox, this.oneBox));
  }

  async open() {
    this.metadata = await this.query({ kind: "open" });
    this.filters = this.metadata.start;
    this.by = Object.keys(this.metadata.axes)[0];
    const options = (values, empty) => [el("option", { value: "" }, empty), ...values.map((value) => el("option", { value }, value === "" ? "(none)" : value))];
    const field = (title, control) => {
      control.setAttribute("aria-label", title); // the label's own text would include that of the options
      this.form.append(el("label", {}, title, control));
    };
    const select = (name, title, children) => {
      const control = el("select", { name, onchange: () => this.change() }, ...children);
      field(title, control);
    };
    for (const [axis, values] of Object.entries(this.metadata.axes)) {
      // by index: a value may be an empty string
      select(axis, axis, [el("option", { value: "" }, "all"), ...values.map((value, index) => el("option", { value: index }, value || "(none)"))]);
    }
    select("metric", "metric", options(this.metadata.metrics, `main: ${this.metadata.mains.join(", ") || "none"}`));
    for (const [name, title] of [["low", "score from"], ["high", "score to"]]) {
      field(title, el("input", { type: "number", step: "any", name, onchange: () => this.change() }));
    }
    const named = (pairs) => pairs.map(([value, text]) => el("option", { value }, text));
    select("only", "rows", named([["all", "all"], ["unscored", "failed or no score"], ["unparsed", "unparsed output"]]));
    select("order", "order", named([["run", "run order"], ["lowest", "lowest score first"], ["highest", "highest score first"]]));
    field("instance id contains", el("input", { type: "search", name: "find", onchange: () => this.change() }));
    this.fill();
    await this.load();
  }

  fill() { // fill the form from the filters
    for (const control of this.form.elements) {
      const value = this.filters[control.name];
      const axis = this.metadata.axes[control.name];
      control.value = axis ? (value === null ? "" : axis.indexOf(value)) : value ?? "";
    }
  }

  change() {
    const metric = this.filters.metric;
    for (const control of this.form.elements) {
      const axis = this.metadata.axes[control.name];
      const empty = control.value === "";
      if (axis) this.filters[control.name] = empty ? null : axis[Number(control.value)];
      else if (control.type === "number") this.filters[control.name] = empty ? null : Number(control.value);
      else this.filters[control.name] = control.value;
    }
    if (metric !== this.filters.metric) { // row numbers are per metric
      this.row = null;
      this.oneBox.replaceChildren();
    }
    this.page = 0;
    return this.load();
  }

  async load() {
    await Promise.all([this.turnTo(this.page), this.drawBars()]);
  }

  async guarded(request) {
    try {
      const response = await this.query(request);
      this.problem.replaceChildren();
      return response;
    } catch (error) {
      this.problem.replaceChildren(...shown(error.message));
      return null;
    }
  }

  async drawBars() {
    if (!this.by) return;
    const filters = JSON.stringify(this.filters);
    const result = await this.guarded({ kind: "bars", filters: this.filters, by: this.by });
    if (!result || filters !== JSON.stringify(this.filters)) return;
    const position = (value) => (100 * (value - result.low)) / (result.high - result.low || 1);
    const cells = result.bars.flatMap((bar) => {
      const fill = el("i");
      fill.style.marginLeft = `${position(Math.min(0, bar.mean ?? 0))}%`;
      fill.style.width = `${bar.mean === null ? 0 : Math.abs(position(bar.mean) - position(0))}%`;
      const summary = `${number(bar.mean)}, ${whole(bar.n)} rows` + (bar.without ? `, ${whole(bar.without)} without a score` : "");
      const pick = () => { this.filters[this.by] = bar.value; this.page = 0; this.fill(); this.load(); };
      return [el("button", { type: "button", title: "show these rows", onclick: pick }, ...shown(bar.value || "(none)")),
        el("div", { class: "track", "aria-hidden": "true" }, fill), el("span", {}, summary)];
    });
    const axes = Object.keys(this.metadata.axes);
    const choose = el("select", { "aria-label": "bars by", onchange: (event) => { this.by = event.target.value; this.drawBars(); } },
      ...axes.map((axis) => el("option", { value: axis, selected: axis === this.by }, axis)));
    this.barsBox.replaceChildren(el("label", { class: "by" }, "mean score of these rows by", choose),
      el("div", { class: "bars", role: "group", "aria-label": `mean score by ${this.by}` }, ...cells));
  }

  async turnTo(page) {
    const requestNumber = ++this.requestNumber;
    const result = await this.guarded({ kind: "page", filters: this.filters, page });
    if (!result || requestNumber !== this.requestNumber) return;
    this.page = result.page;
    const varied = ["scenario", "perturbation", "perturbation_seed", "setting", "trial", "model", "output_index", "reference_index", "window_index"]
      .filter((name) => this.metadata.axes[name] || new Set(result.rows.map((row) => row[name])).size > 1);
    const heads = ["instance_id", ...varied].map((name) => TITLES[name]);
    const rows = result.rows.map((row, index) => {
      const open = () => this.openInstance(row.row);
      const name = el("button", { type: "button", tabindex: index ? "-1" : "0" }, ...shown(row.instance_id));
      const text = row.error === null ? row.completion : row.error;
      return el("tr", { "data-row": row.row, onclick: open }, el("td", {}, name),
        ...varied.map((column) => el("td", {}, ...shown(row[column] ?? ""))), el("td", { class: "number" }, number(row.score)),
        el("td", { class: "cut", dir: "auto" }, ...shown(row.input ?? "")),
        el("td", { class: row.error === null ? "cut" : "cut problem", dir: "auto" }, ...shown(text ?? "")));
    });
    const first = result.page * 50;
    const range = result.total ? `${whole(first + 1)}–${whole(first + rows.length)} of ${whole(result.total)} rows` : "no rows";
    const table = grid(range, [...heads, "score", "input", "completion"], rows);
    table.addEventListener("keydown", (event) => this.keys(event));
    const button = (title, to, enabled) => el("button", { type: "button", disabled: !enabled, onclick: () => this.turnTo(to) }, title);
    const go = el("input", { type: "number", min: 1, max: result.pages, value: result.page + 1, "aria-label": "page",
      onchange: (event) => this.turnTo(Math.max(0, Math.trunc(Number(event.target.value)) - 1)) });
    const pager = el("nav", { class: "pager", "aria-label": "pages" }, button("previous", result.page - 1, result.page > 0), go,
      `of ${whole(result.pages)}`, button("next", result.page + 1, result.page + 1 < result.pages));
    this.listBox.replaceChildren(el("div", { class: "scroll" }, table), pager);
    this.mark();
    this.status.textContent = range;
  }

  keys(event) { // arrow keys move between rows, PageUp and PageDown between pages
    const buttons = [...this.listBox.querySelectorAll("tbody button")];
    const index = buttons.indexOf(this.root.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const pageStep = { PageDown: 1, PageUp: -1 }[event.key];
    if (step && buttons[index + step]) {
      buttons[index].tabIndex = -1;
      buttons[index + step].tabIndex = 0;
      buttons[index + step].focus();
    } else if (pageStep) {
      this.turnTo(Math.max(0, this.page + pageStep)).then(() => this.listBox.querySelector("tbody button")?.focus());
    }
    if (step || pageStep) event.preventDefault();
  }

  mark() {
    for (const row of this.listBox.querySelectorAll("tbody tr")) {
      if (Number(row.dataset.row) === this.row) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  async openInstance(row) {
    this.row = row;
    this.mark();
    const result = await this.guarded({ kind: "instance", filters: this.filters, row });
    if (!result || row !== this.row) return;
    const title = result.title;
    const several = result.completions.length > 1;
    const differ = new Set(result.siblings.map(outputLabel)).size > 1;
    const scores = result.scores.map((score) => el("tr", {}, el("th", { scope: "row" }, ...shown([score.metric, several ? outputLabel(score) : ""].filter(Boolean).join(", "))),
      el("td", { class: "number" }, number(score.score)), el("td", {}, ...shown(score.reason ?? ""))));
    const siblings = result.siblings.map((sibling) => el("tr", { "aria-current": sibling.row === result.row ? "true" : null, onclick: () => this.openInstance(sibling.row) },
      el("td", {}, el("button", { type: "button" }, ...shown(sibling.model))), el("td", {}, ...shown([variant(sibling), differ ? outputLabel(sibling) : ""].filter(Boolean).join(", "))),
      el("td", { class: "number" }, number(sibling.score)), el("td", { class: "cut", dir: "auto" }, ...shown(sibling.output))));
    const references = el("ul", {}, ...result.references.map((reference, index) => el("li", {},
      reference.correct ? el("b", {}, "correct: ") : "", ...(result.choices[index] ? shown(`${result.choices[index]}  `) : []), el("bdi", {}, ...shown(reference.text.text)))));
    const parts = [
      el("h3", {}, ...shown(`${title.instance_id}, ${variant(title)}, ${title.model}`)),
      section("scores", el("table", {}, el("tbody", {}, ...scores))),
      result.change ? changeSection(result.change) : section("input", block(result.input, "input")),
      result.images.length ? section("images", el("div", { class: "pictures" }, ...result.images.map(picture))) : null,
      ...result.completions.map((completion) => completionSection(completion, several)),
      result.more_completions ? el("div", { class: "note" }, `${whole(result.more_completions)} more completions`) : null,
      section("references", result.references.length ? references : "none"),
      result.verdicts.length ? verdicts(result.verdicts) : null,
      section("all models and perturbations", grid("", ["model", "variant", "score", "output"], siblings)),
      section("columns of the scenario", pairs(result.own.map(([name, value]) => [name, value.text]))),
    ];
    this.oneBox.replaceChildren(...parts.filter((part) => part !== null));
    this.oneBox.scrollTop = 0;
    this.status.textContent = `instance ${title.instance_id}, ${variant(title)}, ${title.model}`;
  }
}

export async function mount(host, query) {
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  host.setAttribute("data-lm-suppress-shortcuts", "true"); // disables the notebook's own shortcuts
  const view = new View(root, query);
  try {
    await view.open();
  } catch (error) {
    view.problem.replaceChildren(...shown(error.message));
  }
}

let lastId = 0;

export default {
  render({ model, el: parent }) {
    const waiting = new Map();
    model.on("msg:custom", (message) => {
      const [resolve, reject] = waiting.get(message.id) ?? [];
      waiting.delete(message.id);
      if (resolve) "error" in message.response ? reject(new Error(message.response.error)) : resolve(message.response);
    });
    const query = (request) => new Promise((resolve, reject) => {
      const id = `${Date.now()}-${++lastId}`;
      waiting.set(id, [resolve, reject]);
      model.send({ id, request });
    });
    const host = document.createElement("div");
    parent.append(host);
    mount(host, query);
  },
};
