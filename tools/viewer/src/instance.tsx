// One instance: completion beside the right answer, changes of the input, prompt, scores, verdicts, all variants and models.

import { useEffect, useRef } from "preact/hooks";
import { decimal, outputLabel, plain, score, short, variant, whole } from "./format";
import { tone } from "./instances";
import type { Completion, Instance, Sibling } from "./types";
import { Block, CopyButton, Section, Text, useApp, Wide } from "./ui";

export function InstanceView({ instance, unitOf, metric, scale, label, setLabel, open, step, close }: {
  instance: Instance; unitOf: (metric: string) => string; metric: string; scale: number[]; label: number | null;
  setLabel: (value: number | null) => void; open: (sibling: Sibling) => void; step: (direction: 1 | -1) => void; close: () => void;
}) {
  const { hasAddress } = useApp();
  const { title } = instance;
  const top = useRef<HTMLHeadingElement>(null);
  useEffect(() => top.current?.scrollIntoView({ block: "nearest" }), [instance]);
  const several = instance.completions.length > 1;
  return (
    <>
      <div class="toolbar">
        <button type="button" class="back" onClick={close}>Close</button>
        <button type="button" onClick={() => step(-1)} title="previous instance (k)">Previous</button>
        <button type="button" onClick={() => step(1)} title="next instance (j)">Next</button>
        <CopyButton title="Copy as Python" text={instance.python} shortcut="c" />
        {hasAddress && <CopyButton title="Copy link" text={async () => location.href} />}
      </div>
      <h2 ref={top}><Text>{`${title["instance_id"]}, ${variant(title)}, ${title["model"]}`}</Text></h2>
      <div class="labels" role="group" aria-label="label of this completion">
        <span class="note">label:</span>
        {scale.map((value) => <button type="button" key={value} aria-pressed={label === value} onClick={() => setLabel(value)}>{short(value)}</button>)}
        {label !== null && <button type="button" onClick={() => setLabel(null)}>Remove</button>}
      </div>
      {instance.completions.map((completion, index) => (
        <Answer key={index} completion={completion} right={index === 0 ? instance.right : null} several={several} />
      ))}
      {instance.more_completions > 0 && <p class="note">{whole(instance.more_completions)} more completions</p>}
      <Section title="Scores">
        <table>
          <tbody>
            {instance.scores.map((row, index) => (
              <tr key={index} class={row.metric === metric ? "selected" : ""}>
                <th scope="row"><Text>{[row.metric, several ? outputLabel(row) : ""].filter(Boolean).join(", ")}</Text></th>
                <td class="number">{score(row.score, unitOf(row.metric) === "fraction" ? "number" : unitOf(row.metric))}</td>
                <td><Text>{row.reason}</Text></td>
              </tr>
            ))}
          </tbody>
        </table>
      </Section>
      {instance.change ? <Change change={instance.change} /> : <Section title="Input"><Block text={instance.input} label="input" /></Section>}
      {instance.images.length > 0 && <Section title="Images"><div class="pictures">{instance.images.map((image) => <Picture key={image.digest} image={image} />)}</div></Section>}
      <Section title="References">
        {instance.references.length === 0 && <p class="note">none</p>}
        <ul class="references">
          {instance.references.map((reference, index) => (
            <li key={index} class={reference.correct ? "correct" : ""}>
              {reference.correct && <b>correct: </b>}{instance.choices[index] !== undefined && <><Text>{instance.choices[index]}</Text>. </>}<bdi><Text>{reference.text.text}</Text></bdi>
            </li>
          ))}
        </ul>
      </Section>
      <Variants instance={instance} open={open} />
      {instance.verdicts.length > 0 && (
        <Section title="Verdicts of judges">
          {instance.verdicts.map((verdict, index) => (
            <div key={index}>
              <p><b><Text>{verdict.judge}</Text></b>, <Text>{verdict.metric}</Text>: <Text>{verdict.value !== null ? decimal(verdict.value) : verdict.verdict ?? verdict.error}</Text>{verdict.against && <>, against <Text>{verdict.against}</Text></>}</p>
              {verdict.reasoning && <Block text={verdict.reasoning} label="reasons of the judge" />}
              {verdict.reply && <details><summary>reply of the judge</summary><Block text={verdict.reply} label="reply of the judge" /></details>}
            </div>
          ))}
        </Section>
      )}
      {instance.completions.map((completion, index) => <Prompt key={index} completion={completion} several={several} />)}
      <Section title="Columns of the scenario">
        <table><tbody>{instance.own.map(([name, value]) => <tr key={name}><th scope="row"><Text>{name}</Text></th><td class="text"><Text>{value.text}</Text></td></tr>)}</tbody></table>
      </Section>
    </>
  );
}

function Answer({ completion, right, several }: { completion: Completion; right: string | null; several: boolean }) {
  const suffix = several ? `, ${outputLabel(completion)}` : "";
  return (
    <div class="pair">
      <Section title={`Completion${suffix}`}>
        {completion.error && <p class="problem"><Text>{completion.error.text}</Text></p>}
        {completion.completion && <Block text={completion.completion} label="completion" />}
        {completion.completion && (completion.output
          ? completion.output.text !== completion.completion.text && <p class="note">parsed output: <b><Text>{completion.output.text}</Text></b></p>
          : <p class="problem">The completion could not be parsed.</p>)}
        {completion.reasoning && <details><summary>reasoning</summary><Block text={completion.reasoning} label="reasoning" /></details>}
      </Section>
      {right !== null && <Section title="Right answer"><Block text={{ text: right || "none", more: 0 }} label="right answer" /></Section>}
    </div>
  );
}

function Change({ change }: { change: [string, string][] }) {
  const side = (which: 0 | 1) => (
    <pre dir="auto" tabIndex={0} role="region" aria-label={which ? "perturbed input" : "original input"}>
      {change.map((piece, index) => {
        const text = piece[which];
        if (!text) return null;
        if (piece[0] === piece[1]) return <Text key={index}>{text}</Text>;
        return which ? <ins key={index}><Text>{text}</Text></ins> : <del key={index}><Text>{text}</Text></del>;
      })}
    </pre>
  );
  return <Section title="Original and perturbed input"><div class="pair">{side(0)}{side(1)}</div></Section>;
}

function Picture({ image }: { image: { src: string | null; label: string } }) {
  const safe = image.src !== null && /^data:image\/png;base64,[A-Za-z0-9+/=]*$/.test(image.src);
  return safe ? <img src={image.src ?? ""} alt={image.label} title={image.label} /> : <span class="note"><Text>{image.label}</Text></span>;
}

/** The instance under every perturbation and model. */
function Variants({ instance, open }: { instance: Instance; open: (sibling: Sibling) => void }) {
  const name = (sibling: Sibling): string => [variant(sibling), outputLabel(sibling) === "output 0" ? "" : outputLabel(sibling)].filter(Boolean).join(", ");
  const names = [...new Set(instance.siblings.map(name))];
  const models = [...new Set(instance.siblings.map((sibling) => sibling.model))];
  return (
    <Section title="All perturbations and models">
      <Wide label="all perturbations and models">
        <table class="variants">
          <thead><tr><td />{models.map((model) => <th scope="col" key={model}><Text>{model}</Text></th>)}</tr></thead>
          <tbody>
            {names.map((row) => (
              <tr key={row}>
                <th scope="row"><Text>{row}</Text></th>
                {models.map((model) => {
                  const sibling = instance.siblings.find((other) => other.model === model && name(other) === row);
                  if (!sibling) return <td key={model}>–</td>;
                  const text = sibling.error || sibling.output || sibling.completion;
                  const isCurrent = sibling.row === instance.row;
                  return (
                    <td key={model} class={`${isCurrent ? "selected" : ""} ${tone(sibling.score, sibling.error || null)}`} aria-current={isCurrent ? "true" : undefined}>
                      <button type="button" class="link" onClick={() => open(sibling)} aria-label={plain(`${row}, ${model}: score ${decimal(sibling.score) || "none"}, ${text}`)}>
                        <b>{sibling.error ? "failed" : decimal(sibling.score) || "none"}</b> <bdi><Text>{text}</Text></bdi>
                      </button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </Wide>
    </Section>
  );
}

function Prompt({ completion, several }: { completion: Completion; several: boolean }) {
  const suffix = several ? `, ${outputLabel(completion)}` : "";
  const length = completion.prefix.text.length + completion.prefix.more;
  return (
    <Section title={`Prompt as sent${suffix}`}>
      {completion.prefix.text && (
        <details>
          <summary>start of the prompt: {completion.shots} few-shot examples, {whole(length)} characters</summary>
          <Block text={completion.prefix} label="start of the prompt" />
        </details>
      )}
      <Block text={completion.suffix} label="prompt" />
      {completion.continuation && <><h3>Scored continuation</h3><Block text={completion.continuation} label="continuation" /></>}
      <Logprobs completion={completion} />
      <details>
        <summary>tokens, latency, decoding</summary>
        <table><tbody>{completion.facts.map(([name, value]) => <tr key={name}><th scope="row">{name}</th><td class="text"><Text>{value}</Text></td></tr>)}</tbody></table>
      </details>
    </Section>
  );
}

function Logprobs({ completion }: { completion: Completion }) {
  const values = completion.token_logprobs;
  if (values.length === 0) return null;
  const known = values.filter((value) => value !== null);
  const least = known.length > 0 ? values.indexOf(Math.min(...known)) : -1;
  const total = completion.logprob === null ? "" : `, ${decimal(completion.logprob)} nats in total`;
  const summary = `${whole(completion.tokens)} tokens${total}${least < 0 ? "" : `; least likely: token ${least + 1}, ${decimal(values[least])} nats`}`;
  return (
    <>
      <h3>Log-probabilities (stronger color: less likely)</h3>
      <div class="strip" role="img" aria-label={summary}>
        {values.map((value, index) => (
          // transparent at p = 1, full color at 5 nats (p = 0.007)
          <i key={index} title={`token ${index + 1}: ${value === null ? "unknown" : `${decimal(value)} nats, p = ${decimal(Math.exp(value))}`}`}
            style={{ "--share": `${Math.min(100, Math.max(0, -(value ?? 0) * 20)).toFixed(0)}%` }} />
        ))}
      </div>
      <p class="note">{summary}</p>
    </>
  );
}
