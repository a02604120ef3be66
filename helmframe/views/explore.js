// The explorer of results, in a notebook (anywidget) and in the page of `helmframe view`.
// Texts of models and data are put in as text nodes, never as markup; nothing is fetched but what `query` returns.

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
.pager { display: flex; gap: .6em; align-items: center; margin: .4em 0; font-size: 12px; }
`;

const TITLES = { scenario: "scenario", instance_id: "instance", perturbation: "perturbation", perturbation_seed: "seed",
  setting: "setting", trial: "trial", model: "model", output_index: "output", reference_index: "option",
  request_mode: "request", window_index: "window" };
// controls, zero width and direction marks, which would else change what is seen without being seen
const UNSEEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff])/;

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function shown(text) {
  return String(text).split(UNSEEN).filter((piece) => piece !== "").map((piece) => UNSEEN.test(piece)
    ? el("span", { class: "unseen" }, `⟨U+${piece.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`)
    : document.createTextNode(piece));
}

const whole = (value) => value.toLocaleString("en");
const number = (value) => (value === null || value === undefined ? "" : value.toFixed(3));

function block(text, label) {
  const box = el("pre", { dir: "auto", tabindex: "0", role: "region", "aria-label": label }, ...shown(text.text));
  return text.more ? el("div", {}, box, el("div", { class: "note" }, `${whole(text.more)} more characters`)) : box;
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

function place(row) {
  return ["output_index", "reference_index", "request_mode", "window_index"]
    .filter((name) => row[name] !== null && row[name] !== undefined).map((name) => `${TITLES[name]} ${row[name]}`).join(", ");
}

function variant(row) {
  return [row.perturbation, row.perturbation_seed ? `seed ${row.perturbation_seed}` : "", row.setting,
    row.trial ? `trial ${row.trial}` : ""].filter(Boolean).join(", ");
}

function strip(answer) {
  const values = answer.token_logprobs;
  if (!values.length) return null;
  const least = values.indexOf(Math.min(...values.filter((value) => value !== null)));
  const said = `${whole(answer.tokens)} tokens` + (answer.logprob === null ? "" : `, ${number(answer.logprob)} nats in all`)
    + (least < 0 ? "" : `; least likely: token ${least + 1}, ${number(values[least])} nats`);
  const cells = values.map((value, at) => {
    const cell = el("i", { title: `token ${at + 1}: ` + (value === null ? "unknown" : `${number(value)} nats, p = ${number(Math.exp(value))}`) });
    // from nothing at p = 1 to full at 5 nats, p = 0.007
    cell.style.background = `color-mix(in srgb, #d55e00 ${Math.min(100, Math.max(0, -value * 20)).toFixed(0)}%, #56b4e922)`;
    return cell;
  });
  return section("log-probabilities (the stronger the colour, the less likely)",
    el("div", { class: "strip", role: "img", "aria-label": said }, ...cells), el("div", { class: "note" }, said),
    el("details", {}, el("summary", {}, "as numbers, in nats"), block({ text: values.map(number).join("  "), more: 0 }, "log-probabilities")));
}

function changed(pieces) {
  const sides = [0, 1].map((side) => el("pre", { dir: "auto", tabindex: "0", role: "region",
    "aria-label": side ? "input, perturbed" : "input, original" }, ...pieces.flatMap((piece) => {
    if (!piece[side]) return [];
    return piece[0] === piece[1] ? shown(piece[side]) : [el(side ? "ins" : "del", {}, ...shown(piece[side]))];
  })));
  return section("input: original and perturbed", el("div", { class: "two" }, ...sides));
}

function answered(answer, several) {
  const where = several ? `, ${place(answer)}` : "";
  const start = answer.prefix.text ? el("details", {}, el("summary", {},
    `what stands before the question: ${answer.shots} shots, ${whole(answer.prefix.text.length + answer.prefix.more)} characters`),
  block(answer.prefix, "start of the prompt")) : null;
  return el("div", {},
    section(`prompt as sent${where}`, start, block(answer.suffix, "prompt")),
    answer.continuation && section("continuation asked about", block(answer.continuation, "continuation")),
    answer.error && section("error", el("div", { class: "problem" }, ...shown(answer.error.text))),
    answer.reasoning && section("reasoning", block(answer.reasoning, "reasoning")),
    answer.completion && section(`completion${where}`, block(answer.completion, "completion")),
    answer.completion && section("parsed output", answer.output ? block(answer.output, "parsed output")
      : el("div", { class: "problem" }, "no answer could be read")),
    strip(answer),
    el("details", {}, el("summary", {}, "tokens, time, decoding"), pairs(answer.facts)));
}

function verdicts(rows) {
  return section("verdicts of judges", ...rows.map((each) => el("div", {},
    el("div", {}, ...shown(`${each.judge}, ${each.metric}: ${each.value ?? each.verdict ?? each.error ?? ""}`)),
    each.reasoning && block(each.reasoning, "reasons of the judge"))));
}

class View {
  constructor(root, query) {
    this.query = query;
    this.root = root;
    this.page = 0;
    this.turn = 0; // answers to questions asked before the last one are late, and dropped
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
    this.about = await this.query({ kind: "open" });
    this.filters = this.about.start;
    this.by = Object.keys(this.about.axes)[0];
    const options = (values, empty) => [el("option", { value: "" }, empty), ...values.map((value) => el("option", { value }, value === "" ? "(none)" : value))];
    const field = (title, control) => {
      control.setAttribute("aria-label", title); // the label's own text would hold that of the options
      this.form.append(el("label", {}, title, control));
    };
    const select = (name, title, children) => {
      const control = el("select", { name, onchange: () => this.change() }, ...children);
      field(title, control);
    };
    for (const [axis, values] of Object.entries(this.about.axes)) {
      // by place: a value may be an empty text
      select(axis, axis, [el("option", { value: "" }, "all"), ...values.map((value, at) => el("option", { value: at }, value || "(none)"))]);
    }
    select("metric", "metric", options(this.about.metrics, `main: ${this.about.mains.join(", ") || "none"}`));
    for (const [name, title] of [["low", "score from"], ["high", "score to"]]) {
      field(title, el("input", { type: "number", step: "any", name, onchange: () => this.change() }));
    }
    const named = (pairs) => pairs.map(([value, text]) => el("option", { value }, text));
    select("only", "rows", named([["all", "all"], ["unscored", "failed or without a score"], ["unparsed", "answer not readable"]]));
    select("order", "order", named([["run", "as run"], ["lowest", "lowest score first"], ["highest", "highest score first"]]));
    field("instance id holds", el("input", { type: "search", name: "find", onchange: () => this.change() }));
    this.fill();
    await this.load();
  }

  fill() { // the form, from the filters
    for (const control of this.form.elements) {
      const value = this.filters[control.name];
      const axis = this.about.axes[control.name];
      control.value = axis ? (value === null ? "" : axis.indexOf(value)) : value ?? "";
    }
  }

  change() {
    const metric = this.filters.metric;
    for (const control of this.form.elements) {
      const axis = this.about.axes[control.name];
      const empty = control.value === "";
      if (axis) this.filters[control.name] = empty ? null : axis[Number(control.value)];
      else if (control.type === "number") this.filters[control.name] = empty ? null : Number(control.value);
      else this.filters[control.name] = control.value;
    }
    if (metric !== this.filters.metric) { // rows are numbered metric by metric
      this.row = null;
      this.oneBox.replaceChildren();
    }
    this.page = 0;
    return this.load();
  }

  async load() {
    await Promise.all([this.turnTo(this.page), this.drawBars()]);
  }

  async guarded(question) {
    try {
      const answer = await this.query(question);
      this.problem.replaceChildren();
      return answer;
    } catch (error) {
      this.problem.replaceChildren(...shown(error.message));
      return null;
    }
  }

  async drawBars() {
    if (!this.by) return;
    const filters = JSON.stringify(this.filters);
    const found = await this.guarded({ kind: "bars", filters: this.filters, by: this.by });
    if (!found || filters !== JSON.stringify(this.filters)) return;
    const place = (value) => (100 * (value - found.low)) / (found.high - found.low || 1);
    const cells = found.bars.flatMap((bar) => {
      const fill = el("i");
      fill.style.marginLeft = `${place(Math.min(0, bar.mean ?? 0))}%`;
      fill.style.width = `${bar.mean === null ? 0 : Math.abs(place(bar.mean) - place(0))}%`;
      const said = `${number(bar.mean)}, ${whole(bar.n)} rows` + (bar.without ? `, ${whole(bar.without)} without a score` : "");
      const pick = () => { this.filters[this.by] = bar.value; this.page = 0; this.fill(); this.load(); };
      return [el("button", { type: "button", title: "show these rows", onclick: pick }, ...shown(bar.value || "(none)")),
        el("div", { class: "track", "aria-hidden": "true" }, fill), el("span", {}, said)];
    });
    const axes = Object.keys(this.about.axes);
    const choose = el("select", { "aria-label": "bars by", onchange: (event) => { this.by = event.target.value; this.drawBars(); } },
      ...axes.map((axis) => el("option", { value: axis, selected: axis === this.by }, axis)));
    this.barsBox.replaceChildren(el("label", { class: "by" }, "mean score of these rows, by", choose),
      el("div", { class: "bars", role: "group", "aria-label": `mean score by ${this.by}` }, ...cells));
  }

  async turnTo(page) {
    const turn = ++this.turn;
    const found = await this.guarded({ kind: "page", filters: this.filters, page });
    if (!found || turn !== this.turn) return;
    this.page = found.page;
    const varied = ["scenario", "perturbation", "perturbation_seed", "setting", "trial", "model", "output_index", "reference_index", "window_index"]
      .filter((name) => this.about.axes[name] || new Set(found.rows.map((row) => row[name])).size > 1);
    const heads = ["instance_id", ...varied].map((name) => TITLES[name]);
    const rows = found.rows.map((row, at) => {
      const open = () => this.open1(row.row);
      const name = el("button", { type: "button", tabindex: at ? "-1" : "0" }, ...shown(row.instance_id));
      const said = row.error === null ? row.completion : row.error;
      return el("tr", { "data-row": row.row, onclick: open }, el("td", {}, name),
        ...varied.map((each) => el("td", {}, ...shown(row[each] ?? ""))), el("td", { class: "number" }, number(row.score)),
        el("td", { class: "cut", dir: "auto" }, ...shown(row.input ?? "")),
        el("td", { class: row.error === null ? "cut" : "cut problem", dir: "auto" }, ...shown(said ?? "")));
    });
    const first = found.page * 50;
    const where = found.total ? `${whole(first + 1)}–${whole(first + rows.length)} of ${whole(found.total)} rows` : "no rows";
    const table = grid(where, [...heads, "score", "input", "completion"], rows);
    table.addEventListener("keydown", (event) => this.keys(event));
    const button = (title, to, able) => el("button", { type: "button", disabled: !able, onclick: () => this.turnTo(to) }, title);
    const go = el("input", { type: "number", min: 1, max: found.pages, value: found.page + 1, "aria-label": "page",
      onchange: (event) => this.turnTo(Math.max(0, Math.trunc(Number(event.target.value)) - 1)) });
    const pager = el("nav", { class: "pager", "aria-label": "pages" }, button("previous", found.page - 1, found.page > 0), go,
      `of ${whole(found.pages)}`, button("next", found.page + 1, found.page + 1 < found.pages));
    this.listBox.replaceChildren(el("div", { class: "scroll" }, table), pager);
    this.mark();
    this.status.textContent = where;
  }

  keys(event) { // up and down walk the rows; PageUp and PageDown turn the page
    const buttons = [...this.listBox.querySelectorAll("tbody button")];
    const at = buttons.indexOf(this.root.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const turn = { PageDown: 1, PageUp: -1 }[event.key];
    if (step && buttons[at + step]) {
      buttons[at].tabIndex = -1;
      buttons[at + step].tabIndex = 0;
      buttons[at + step].focus();
    } else if (turn) {
      this.turnTo(Math.max(0, this.page + turn)).then(() => this.listBox.querySelector("tbody button")?.focus());
    }
    if (step || turn) event.preventDefault();
  }

  mark() {
    for (const row of this.listBox.querySelectorAll("tbody tr")) {
      if (Number(row.dataset.row) === this.row) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  async open1(row) {
    this.row = row;
    this.mark();
    const found = await this.guarded({ kind: "instance", filters: this.filters, row });
    if (!found || row !== this.row) return;
    const title = found.title;
    const several = found.answers.length > 1;
    const apart = new Set(found.siblings.map(place)).size > 1;
    const scores = found.scores.map((each) => el("tr", {}, el("th", { scope: "row" }, ...shown([each.metric, several ? place(each) : ""].filter(Boolean).join(", "))),
      el("td", { class: "number" }, number(each.score)), el("td", {}, ...shown(each.reason ?? ""))));
    const others = found.siblings.map((each) => el("tr", { "aria-current": each.row === found.row ? "true" : null, onclick: () => this.open1(each.row) },
      el("td", {}, el("button", { type: "button" }, ...shown(each.model))), el("td", {}, ...shown([variant(each), apart ? place(each) : ""].filter(Boolean).join(", "))),
      el("td", { class: "number" }, number(each.score)), el("td", { class: "cut", dir: "auto" }, ...shown(each.output))));
    const references = el("ul", {}, ...found.references.map((each, at) => el("li", {},
      each.correct ? el("b", {}, "correct: ") : "", ...(found.choices[at] ? shown(`${found.choices[at]}  `) : []), el("bdi", {}, ...shown(each.text.text)))));
    const parts = [
      el("h3", {}, ...shown(`${title.instance_id}, ${variant(title)}, ${title.model}`)),
      section("scores", el("table", {}, el("tbody", {}, ...scores))),
      found.change ? changed(found.change) : section("input", block(found.input, "input")),
      ...found.answers.map((answer) => answered(answer, several)),
      found.more_answers ? el("div", { class: "note" }, `${whole(found.more_answers)} more answers`) : null,
      section("references", found.references.length ? references : "none"),
      found.verdicts.length ? verdicts(found.verdicts) : null,
      section("the same instance under every model and perturbation", grid("", ["model", "variant", "score", "output"], others)),
      section("about it", pairs(found.own.map(([name, value]) => [name, value.text]))),
    ];
    this.oneBox.replaceChildren(...parts.filter((part) => part !== null));
    this.oneBox.scrollTop = 0;
    this.status.textContent = `showing ${title.instance_id}, ${variant(title)}, ${title.model}`;
  }
}

export async function mount(host, query) {
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  host.setAttribute("data-lm-suppress-shortcuts", "true"); // a notebook's own keys are not meant here
  const view = new View(root, query);
  try {
    await view.open();
  } catch (error) {
    view.problem.replaceChildren(...shown(error.message));
  }
}

let asked = 0;

export default {
  render({ model, el: place }) {
    const waiting = new Map();
    model.on("msg:custom", (said) => {
      const [done, failed] = waiting.get(said.id) ?? [];
      waiting.delete(said.id);
      if (done) "error" in said.answer ? failed(new Error(said.answer.error)) : done(said.answer);
    });
    const query = (question) => new Promise((done, failed) => {
      const id = `${Date.now()}-${++asked}`;
      waiting.set(id, [done, failed]);
      model.send({ id, question });
    });
    const host = document.createElement("div");
    place.append(host);
    mount(host, query);
  },
};
