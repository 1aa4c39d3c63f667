// @ts-check
/** @param {Style} style @returns {style is Style & Verdict} */
const isInspected = (style) => style.matched !== undefined;
/** @param {[number, number]} bounds */
const range = ([low, high]) => (low === high ? String(low) : `${low} to ${high}`);
/** @param {number} share */
const percent = (share) => `${(100 * share).toPrecision(2)} %`;

/** @param {Style} style */
function factsOf(style) {
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
  const training = Object.entries(style.training ?? {}).map(([name, value]) => `${name.replace(/^ss_/, "").replaceAll("_", " ")} ${value}`);
  facts.push(["Training", training.join(", ")]);
  facts.push(["Source", style.origin ?? style.source], ["Licence", style.licence], ["SHA-256", style.sha256]);
  return terms(facts);
}

// What an adapter file is, in words: the answer of /inspect_adapter, or for a shared style what /adapters says.
/** @type {typeof globalThis.verdictPanel} */
const verdictPanel = (box, { acts, now, closed }) => {
  /** @type {Style | undefined} */
  let shown;
  /** @param {Style} style */
  const judge = (style) => {
    shown = style;
    const close = press("mix-remove", "×", () => {
      box.hidden = true;
      closed(style);
    });
    close.setAttribute("aria-label", "Close the verdict");
    const words = style.reason || style.description;
    box.dataset.fits = String(style.fits !== false);
    box.replaceChildren(close, make("h3", "", style.name || "This file"), ...(words ? [make("p", "", words)] : []), ...acts(style));
    box.append(factsOf(style));
    box.hidden = false;
  };
  return {
    judge,
    open: (style) => {
      judge(style);
      // Strengths lie over the page's top, and the line above says what came of it.
      box.style.scrollMarginTop = `${52 + (part("mix").parentElement?.offsetHeight ?? 0)}px`;
      box.scrollIntoView({ block: "nearest" });
      box.focus({ preventScroll: true });
    },
    again: () => {
      if (box.hidden || !shown?.id) return;
      const style = now(shown.id);
      if (JSON.stringify(style) === JSON.stringify(shown)) return;
      const focused = box.contains(document.activeElement);
      box.hidden = !style;
      if (style) judge(style);
      if (focused && style) box.focus({ preventScroll: true });
      else if (focused) closed(shown);
    },
  };
};
