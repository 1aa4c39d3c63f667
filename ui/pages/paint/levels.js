// @ts-check
const SVG = "http://www.w3.org/2000/svg";
/** @param {string} name @param {Record<string, string | number>} attributes */
const shape = (name, attributes) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
};
/** @param {number} sigma */
const number = (sigma) => (sigma >= 100 ? Math.round(sigma).toLocaleString("en") : sigma.toPrecision(2));

function show() {
  /** @type {{ sigmas?: number[], error?: string }} */
  const { sigmas, error } = props.value || {};
  part("plot").replaceChildren();
  part("caption").textContent = error || "";
  if (!sigmas?.length) return;
  // On a logarithmic scale; the last level is zero and stands at the bottom.
  const least = Math.log(0.01);
  const most = Math.log(Math.max(...sigmas, 1));
  const points = sigmas.map((sigma, i) => {
    const height = (Math.log(Math.max(sigma, 0.01)) - least) / (most - least);
    return [4 + (292 * i) / Math.max(1, sigmas.length - 1), 56 - 52 * height];
  });
  part("plot").append(
    shape("polyline", { points: points.map((p) => p.join(",")).join(" "), class: "levels-line" }),
    ...points.map(([cx, cy]) => shape("ellipse", { cx, cy, rx: 1.6, ry: 1.6, class: "levels-dot" })),
  );
  const words = `Noise over ${sigmas.length - 1} steps, from ${number(sigmas[0])} down to 0, on a logarithmic scale`;
  part("plot").setAttribute("aria-label", words);
  part("caption").textContent = words;
}

watch("value", show);
show();
