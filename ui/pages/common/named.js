// @ts-check
const MOST_NAMED = 30;

// Chips of what the visitor has named, kept by the browser under `key`: a click takes it, × forgets it.
/** @type {typeof globalThis.named} */
const named = ({ box, key, keep, current, take }) => {
  /** @returns {Record<string, any>} */
  const all = () => atelier.recall(key) ?? {};

  /** @param {Record<string, unknown>} kept */
  const write = (kept) => {
    atelier.remember(key, Object.fromEntries(Object.entries(kept).slice(-MOST_NAMED)));
    show();
  };

  /** @param {string} name */
  const chip = (name) => {
    const pair = make("span", "chip-pair");
    const drop = press("chip-drop", "×", () => {
      const { [name]: gone, ...others } = all();
      write(others);
    });
    drop.setAttribute("aria-label", `Forget ${name}`);
    pair.append(
      press("chip", name, () => take(all()[name])),
      drop,
    );
    return pair;
  };

  const show = () => {
    const field = make("input", "name-field");
    Object.assign(field, { type: "text", placeholder: "A name", maxLength: 40, hidden: true });
    field.setAttribute("aria-label", `${keep}: its name`);
    const done = () => {
      const name = field.value.trim();
      if (name) write({ ...all(), [name]: current() });
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") done();
      else if (event.key === "Escape") show();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    const button = press("link", keep, () => {
      if (!field.hidden) return done();
      field.hidden = false;
      field.focus();
    });
    box.replaceChildren(...Object.keys(all()).map(chip), field, ...(current() === undefined ? [] : [button]));
  };

  // Whoever is writing a name goes on.
  return () => box.contains(document.activeElement) || show();
};
