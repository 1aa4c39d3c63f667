// @ts-check
// The mask as a value of the request; canvas.js draws it.
window.addEventListener("atelier:masked", (event) => (props.value = /** @type {CustomEvent<SentFile | null>} */ (event).detail));
watch("value", () => props.value || window.dispatchEvent(new Event("atelier:unmasked")));
