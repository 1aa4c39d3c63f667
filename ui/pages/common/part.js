// @ts-check
// An element of the widget's own template.
/** @type {typeof globalThis.part} */
const part = (name) => /** @type {any} */ (element.querySelector(`[data-part="${name}"]`));
