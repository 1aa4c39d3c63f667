// @ts-check
const { columns, templates } = given;
const rows = Math.ceil(templates.length / columns);
const buttons = templates.map((template, i) => {
  const button = press("prompt-template", undefined, () => {
    wrap(templates, template);
    show();
  });
  const picture = make("span", "prompt-template-picture");
  picture.style.backgroundPosition = `${(100 * (i % columns)) / (columns - 1)}% ${(100 * Math.floor(i / columns)) / (rows - 1)}%`;
  picture.style.backgroundSize = `${100 * columns}% auto`;
  picture.style.backgroundImage = "url(templates.webp)";
  button.append(picture, make("span", "prompt-template-name", template.name));
  button.title = template.prompt.replace("{prompt}", "…");
  return button;
});

function show() {
  const { on } = unwrapped(templates);
  for (const [i, template] of templates.entries()) buttons[i].setAttribute("aria-pressed", String(on.includes(template)));
}

part("search").addEventListener("input", () => {
  const words = part("search").value.trim().toLowerCase();
  for (const [i, template] of templates.entries()) {
    buttons[i].hidden = !`${template.name} ${template.prompt}`.toLowerCase().includes(words);
  }
});
document.addEventListener("input", (event) => inside(event, "#prompt") && show());
part("hint").textContent = given.hint;
part("templates").append(...buttons);
show();
