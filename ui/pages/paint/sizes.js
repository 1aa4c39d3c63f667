// @ts-check
/** @param {number} width @param {number} height */
function pick(width, height) {
  props.value = { width, height };
  trigger("pick");
  show();
}

/** @param {number} a @param {number} b @returns {number} */
const divisor = (a, b) => (b ? divisor(b, a % b) : a);

function show() {
  const { width, height } = props.value;
  for (const [i, chip] of chips.entries()) {
    const size = given.sizes[i];
    const is = (size.width === width && size.height === height) || (size.width === height && size.height === width);
    chip.setAttribute("aria-pressed", String(is));
  }
  const by = divisor(width, height);
  const ratio = width / by <= 32 ? `, ${width / by}:${height / by}` : `, ${(width / height).toFixed(2)}:1`;
  const pixels = width * height;
  part("says").textContent =
    `${width} × ${height}${ratio}, ${pixels < 1e5 ? pixels.toLocaleString("en") : `${(pixels / 1e6).toFixed(2)} million`} pixels`;
}

// The way round that the picture has now.
const chips = given.sizes.map((size) =>
  press("chip", size.name, () => {
    const tall = props.value.height > props.value.width;
    pick(tall ? size.height : size.width, tall ? size.width : size.height);
  }),
);
part("chips").append(...chips);
part("swap").addEventListener("click", () => pick(props.value.height, props.value.width));
watch("value", show);
show();
