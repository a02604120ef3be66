import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./build.mjs";

const { formatRoute, instances, parseRoute, startRoute } = await load("route.ts");

const HOSTILE = "a/b?c=d&e#f <script>%41 \u202e";

for (const route of [
  { view: "runs" },
  { view: "compare", runs: ["one", HOSTILE] },
  { view: "summary", run: HOSTILE },
  instances("run"),
  { ...instances("run", { model: HOSTILE, low: 0.5, find: "two words", only: "wrong", setting: "" },
    { scenario: HOSTILE, instance_id: "0", perturbation: "original", perturbation_seed: 0, trial: 2 }), page: 3 },
]) {
  test(`an address restores the page ${JSON.stringify(route)}`, () => {
    assert.deepEqual(parseRoute(formatRoute(route)), route);
  });
}

test("other addresses open the start page", () => {
  for (const hash of ["", "#", "#/", "#/other", "#/run", "#/run/"]) assert.equal(parseRoute(hash), null);
  assert.equal(parseRoute("#/run/%E0%A4%A/summary").view, "summary");
});

test("the start page is the table of runs, or the only run", () => {
  assert.deepEqual(startRoute({ run: null, tab: "summary", filters: null }), { view: "runs" });
  assert.deepEqual(startRoute({ run: "a", tab: "summary", filters: null }), { view: "summary", run: "a" });
  assert.equal(startRoute({ run: "a", tab: "instances", filters: { model: "m" } }).filters.model, "m");
});
