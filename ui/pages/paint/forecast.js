// @ts-check
const EVERY = 10000;

/** @param {Plan} plan */
function sentence({ expected_seconds: own, place, starts_in: wait, error }) {
  if (error) return error;
  if (own === undefined) return "";
  if (!place) return `About ${roughly(own)}.`;
  const queue = place > 1 ? "" : " in the queue";
  return `About ${roughly(own)}, ${turn(place)}${queue}: begins in about ${roughly(wait)}.`;
}

function show() {
  const words = sentence(props.value || {});
  // Said again it would be read out again.
  if (part("line").textContent !== words) part("line").textContent = words;
}

watch("value", show);
show();
const { dataset } = document.documentElement;
setInterval(() => document.visibilityState === "visible" && dataset.atelier !== "running" && trigger("ask"), EVERY);
