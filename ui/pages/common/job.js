// @ts-check
// Jobs as their visitor sees them, from the click to the end: those that paint, those that compare.
const LOST_AFTER = 10000;
const LOST = "The connection was lost; what is being painted goes on. Reload the page to see it.";

/** @type {typeof globalThis.showJob} */
const showJob = ({ kind, notice, sentences, share, draw }) => {
  const words = /** @type {Record<string, (value: any) => string>} */ (sentences);
  let heard = 0;

  const show = () => {
    heard = performance.now();
    const value = props.value || { status: "empty" };
    const running = atelier.runs(value);
    document.documentElement.dataset[kind] = running ? "running" : "idle";
    const section = /** @type {HTMLElement} */ (element.querySelector("section"));
    section.dataset.status = value.status;
    section.setAttribute("aria-busy", String(running));
    const done = share(value);
    part("bar").style.transform = `scaleX(${done})`;
    part("progress").setAttribute("aria-valuenow", String(Math.round(100 * done)));
    part("progress").classList.toggle("on", running);
    part("status").textContent = words[value.status]?.(value) ?? (running ? "Sent …" : "");
    // At the start the rest of the page, where the notice may stand, is not there yet.
    const place = notice();
    if (place) notify(place, value.message || value.notice);
    draw(value, running);
  };

  watch("value", show);
  show();
  // The server says something every second, whether there is news or not.
  setInterval(() => {
    if (!atelier.runs(props.value) || performance.now() - heard < LOST_AFTER) return;
    props.value = { ...props.value, status: "failed", message: LOST };
    show();
  }, 1000);
  return show;
};
