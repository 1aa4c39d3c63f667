// @ts-check
// Runs of tokens that share a weight other than 1, as words.
/** @param {string[]} tokens @param {number[]} weights */
function weighed(tokens, weights) {
  /** @type {{ text: string, weight: number }[]} */
  const runs = [];
  tokens.forEach((token, i) => {
    if (weights[i] === 1) return;
    const text = token.replace(/<\/w>$/, " ");
    if (i && weights[i - 1] === weights[i] && runs.length) runs[runs.length - 1].text += text;
    else runs.push({ text, weight: weights[i] });
  });
  return runs.map(({ text, weight }) => `${text.trim()} × ${Number(weight.toFixed(2))}`);
}

function show() {
  /** @type {Tokenized} */
  const { count, chunks, tokens, weights, clamped, dropped, parts, schedule, triggers, unknown, error } = props.value || {};
  part("notes").replaceChildren();
  part("count").textContent = error || "";
  if (!count) return;
  part("count").textContent =
    `${plural(count, "token")} of ${given.chunk * chunks}${chunks > 1 ? `, ${chunks} parts of ${given.chunk}` : ""}`;
  const notes = weighed(tokens, weights);
  if (parts.length > 1) notes.push(`${parts.length} prompts joined by AND`);
  if (schedule.length > 1) notes.push(`${schedule.length} wordings over the steps`);
  notes.push(...clamped, ...dropped.map((word) => `left out: ${word}`));
  notes.push(...unknown.map((name) => `there is no style “${name}”`));
  const missing = triggers.missing.map((word) => {
    const add = press("chip", `+ ${word}`, () => mention(word));
    add.title = "A style that is on was trained with this word";
    add.setAttribute("aria-label", `Put "${word}" into the prompt`);
    return add;
  });
  part("notes").append(...notes.map((note) => make("span", "counter-note", note)), ...missing);
}

const PAUSE = 300;
/** @type {number | undefined} */
let typing;
window.addEventListener("atelier:edited", () => {
  clearTimeout(typing);
  typing = setTimeout(() => trigger("ask"), PAUSE);
});
watch("value", show);
show();
