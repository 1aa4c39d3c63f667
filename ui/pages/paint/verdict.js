// @ts-check
/** @param {Style} style @returns {style is Style & Verdict} */
const isInspected = (style) => style.matched !== undefined;
/** @param {[number, number]} bounds */
const range = ([low, high]) => (low === high ? String(low) : `${low} to ${high}`);
/** @param {number} share */
const percent = (share) => `${(100 * share).toPrecision(2)} %`;

// What an adapter file is, in words: the answer of /inspect_adapter, or for a shared style what /adapters says.
/** @type {typeof globalThis.showVerdict} */
const showVerdict = (box, style) => {
  /** @type {[string, unknown][]} */
  const facts = [
    ["Rank", style.rank],
    ["Parameters", style.parameters?.toLocaleString("en")],
  ];
  if (style.share) facts[1][1] += `, ${percent(style.share)} of the base`;
  if (isInspected(style)) {
    const all = style.matched + style.unmatched;
    // An embedding has none.
    if (all) facts.unshift(["Layers", `${style.matched} of ${all} fit${style.ignored ? `, ${style.ignored} ignored` : ""}`]);
    facts.push(["Made for", `${given.families[style.family] || "an unknown model"}: ${style.family_known_by}`]);
    for (const [name, group] of Object.entries(style.groups)) {
      const kinds = Object.entries(group.kinds)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(", ");
      facts.push([name, `${kinds}; rank ${range(group.rank)}, alpha ${range(group.alpha)}`]);
    }
    if (style.base !== "unknown") facts.push(["Trained on", style.base]);
    if (style.unmatched) facts.push(["Without a place", style.unmatched_examples.join(", ")]);
    if (style.notes.length) facts.push(["Notes", style.notes.join(" ")]);
    if (style.tags.length) facts.push(["Trained with words", style.tags.join(", ")]);
  }
  facts.push(["Source", style.source], ["Licence", style.licence], ["SHA-256", style.sha256]);
  const close = press("mix-remove", "×", () => (box.hidden = true));
  close.setAttribute("aria-label", "Close the verdict");
  const head = make("h3", "", style.name || "This file");
  box.dataset.fits = String(style.fits !== false);
  box.replaceChildren(close, head, make("p", "", style.reason || style.description || ""), terms(facts));
  box.hidden = false;
};
