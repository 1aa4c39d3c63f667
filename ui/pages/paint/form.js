// @ts-check
// All that is set on this page: remembered by the browser, what is not as usual as chips, presets of one's own.
const PAUSE = 400;
// They are in plain sight, or files.
const OWN_PLACE = ["prompt", "adapters", "image", "mask", "seed"];
const same = (/** @type {unknown} */ a, /** @type {unknown} */ b) => JSON.stringify(a) === JSON.stringify(b);
/** @type {number | undefined} */
let saving;

/** @param {Record<string, unknown>} values */
function set(values) {
  props.value = { ...props.value, set: values };
  trigger("set");
}

/** @returns {Record<string, any>} */
const values = () => props.value?.values ?? {};
const changed = () =>
  Object.keys(given.fields).filter(
    (name) => !OWN_PLACE.includes(name) && name in values() && !same(values()[name], given.fields[name].usual),
  );

/** @param {unknown} value */
const inWords = (value) => {
  if (typeof value === "boolean") return value ? "on" : "off";
  const text = typeof value === "number" ? String(Number(value.toFixed(3))) : String(value || "nothing");
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
};

/** @param {string} name */
function chip(name) {
  const { label, usual } = given.fields[name];
  const node = press("chip changed", `${label} ${inWords(values()[name])} ×`, () => set({ [name]: usual }));
  node.title = `Back to ${inWords(usual)}`;
  node.setAttribute("aria-label", `${label}: ${inWords(values()[name])}. Back to ${inWords(usual)}`);
  return node;
}

/** @param {Tier} tier */
function tierOn(tier) {
  const on = (values().adapters ?? []).map((/** @type {StyleUse} */ use) => use.id);
  return (
    Object.entries(tier.values).every(([name, value]) => same(values()[name], value)) && (!tier.adapter || on.includes(tier.adapter.id))
  );
}

/** @param {Tier} tier */
function choose(tier) {
  const others = (values().adapters ?? []).filter((/** @type {StyleUse} */ use) => use.id !== tier.adapter?.id);
  set({ ...tier.values, ...(tier.adapter ? { adapters: [...others, tier.adapter] } : {}) });
}

const showPresets = named({
  box: part("presets"),
  key: "presets",
  keep: "Keep these settings",
  current: () => (changed().length ? Object.fromEntries(changed().map((name) => [name, values()[name]])) : undefined),
  take: (kept) => set({ ...Object.fromEntries(changed().map((name) => [name, given.fields[name].usual])), ...kept }),
});

function show() {
  part("changed").replaceChildren(...changed().map(chip));
  for (const [i, node] of tierChips.entries()) node.setAttribute("aria-pressed", String(tierOn(given.tiers[i])));
  showPresets();
}

// The first time it is what the page came with, not what its visitor has set.
let came = false;

function told() {
  show();
  clearTimeout(saving);
  if (!came) {
    came = true;
    return;
  }
  const { image, mask, ...kept } = values();
  if ("prompt" in kept) saving = setTimeout(() => atelier.remember("form", kept), PAUSE);
}

const tierChips = given.tiers.map((tier) => {
  const node = press("chip", tier.name, () => choose(tier));
  node.title = tier.about;
  return node;
});
part("tiers").append(...tierChips);
watch("value", told);
show();
