import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./build.mjs";

const { date, decimal, dollars, duration, interval, outputLabel, pieces, plain, score, signed, some, variant } = await load("format.ts");

test("invisible characters become code points, and all others stay", () => {
  assert.equal(pieces("a\u202eb\u0000").map((piece) => piece.text).join(""), "a\u27e8U+202E\u27e9b\u27e8U+0000\u27e9");
  assert.equal(plain("one\n two\u200b"), "one two\u27e8U+200B\u27e9");
  assert.deepEqual(pieces("x\ny\tz"), [{ text: "x\ny\tz", invisible: false }]);
});

test("fractions are shown in percent, and other units as they are", () => {
  assert.equal(score(0.8281), "82.8 %");
  assert.equal(score(12.345, "words"), "12.3");
  assert.equal(score(null), "");
  assert.equal(interval(-0.012, 0.04), "[\u22121.2, 4.0]");
  assert.equal(interval(null, 0.04), "");
  assert.equal(signed(-0.04), "\u22124.0");
  assert.equal(signed(0.04), "+4.0");
  assert.equal(decimal(1), "1");
  assert.equal(decimal(0.12345), "0.123");
});

test("dates, durations and costs are short", () => {
  assert.equal(date(0), "1970-01-01 00:00");
  assert.equal(duration(61), "1 min 1 s");
  assert.equal(dollars(0), "$0");
  assert.equal(dollars(0.0012), "$0.0012");
  assert.equal(dollars(12.3), "$12.30");
  assert.equal(dollars(null), "");
});

test("variants and outputs have short names", () => {
  assert.equal(variant({ perturbation: "typos", perturbation_seed: 2, setting: "", trial: 1 }), "typos, seed 2, trial 1");
  assert.equal(outputLabel({ output_index: 0, reference_index: null }), "output 0");
  assert.equal(some(["a", "b", "c", "d"]), "a, b, c +1");
});
