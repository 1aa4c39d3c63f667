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

/** @returns {StyleUse[]} */
const uses = () => values().adapters ?? [];

// The adapter of a tier: one that is offered by what is in its file, for a visitor may have it from elsewhere.
/** @param {Tier} tier @returns {StyleUse[]} */
function own({ adapter, offer }) {
  if (!offer) return adapter ? [adapter] : [];
  const there = [...(atelier.styles?.values() ?? [])].find((style) => style.sha256 === offer.sha256);
  return there ? [{ id: there.id, weight: 1 }] : [];
}

// Those that are on and belong to some tier.
function ofTiers() {
  const theirs = given.tiers.flatMap(own).map((use) => use.id);
  return uses().filter((use) => theirs.includes(use.id));
}

// What has to be fetched before.
/** @param {Tier} tier */
const lacking = (tier) => (own(tier).length ? null : tier.offer);
/** @param {StyleUse[]} some */
const ids = (some) => some.map((use) => use.id);

/** @param {Tier} tier */
function tierOn(tier) {
  const alike = Object.entries(tier.values).every(([name, value]) => same(values()[name], value));
  return alike && !lacking(tier) && same(ids(ofTiers()), ids(own(tier)));
}

/** @param {Tier} tier */
function choose(tier) {
  const others = ofTiers();
  set({ ...tier.values, adapters: [...uses().filter((use) => !others.includes(use)), ...own(tier)] });
}

/** @param {Offer} offer */
const inShort = (offer) => `${offer.url.replace("https://", "")}, ${Math.round(offer.bytes / 1e6)} MB, licence ${offer.licence}`;

// The one that was pressed last: who waits for a file may want another before it comes.
/** @type {Tier} */
let wanted;

/** @param {Tier} tier @param {HTMLElement} node */
async function take(tier, node) {
  wanted = tier;
  const offer = lacking(tier);
  if (!offer) return choose(tier);
  if (node.getAttribute("aria-busy") === "true") return;
  node.setAttribute("aria-busy", "true");
  notify(part("say"), `Fetching ${tier.name}: ${inShort(offer)} …`);
  const wrong = await atelier.bring(offer.repo_id);
  node.setAttribute("aria-busy", "false");
  const other = lacking(tier) ? "What came is not the file that is offered." : "";
  notify(part("say"), wrong || other);
  if (!lacking(tier)) choose(wanted);
}

const showPresets = named({
  box: part("presets"),
  key: "presets",
  keep: "Keep these settings",
  current: () => (changed().length ? Object.fromEntries(changed().map((name) => [name, values()[name]])) : undefined),
  take: (kept) => set({ ...Object.fromEntries(changed().map((name) => [name, given.fields[name].usual])), ...kept }),
});

/** @param {Tier} tier @param {HTMLElement} node */
function showTier(tier, node) {
  const offer = lacking(tier);
  node.setAttribute("aria-pressed", String(tierOn(tier)));
  node.textContent = offer ? `${tier.name} ↓` : tier.name;
  node.title = offer ? `${tier.about}. A click fetches its adapter for this visit: ${inShort(offer)}` : tier.about;
}

function show() {
  part("changed").replaceChildren(...changed().map(chip));
  for (const [i, node] of tierChips.entries()) showTier(given.tiers[i], node);
  showPresets();
}

// The first time it is what the page came with, not what its visitor has set.
let came = false;

function told() {
  show();
  window.dispatchEvent(new CustomEvent("atelier:form", { detail: values() }));
  clearTimeout(saving);
  if (!came) {
    came = true;
    return;
  }
  const { image, mask, ...kept } = values();
  if ("prompt" in kept) saving = setTimeout(() => atelier.remember("form", kept), PAUSE);
}

const tierChips = given.tiers.map((tier) => {
  const node = press("chip", tier.name, () => take(tier, node));
  return node;
});
part("tiers").append(...tierChips);
watch("value", told);
show();
