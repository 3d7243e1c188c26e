// Figures, tables and formulas: a picture is enlarged by a click, and what is wider than the page scrolls in a box of its own.
document.addEventListener("DOMContentLoaded", () => {
  const reachByKeyboard = () => {
    for (const wide of document.querySelectorAll("div.output.text_html, div.math > math")) {
      if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
    }
  };
  reachByKeyboard();
  window.addEventListener("resize", reachByKeyboard);

  const dialog = document.createElement("dialog"), close = document.createElement("button");
  const enlarged = document.createElement("img");
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", "Enlarged picture");
  [close.type, close.textContent] = ["button", "Close"];
  dialog.append(close, enlarged);
  dialog.addEventListener("click", () => dialog.close());
  document.body.append(dialog);

  // not those of a slider, which hides and shows them itself, nor those that a graph has taken the place of
  for (const image of document.querySelectorAll("figure img")) {
    if (image.closest("[hidden], .slides")) continue;
    let opener = image.closest("a"); // Sphinx links to a picture that it shows in another size
    if (!opener) {
      opener = document.createElement("button");
      opener.type = "button";
      const tiles = image.nextElementSibling?.matches(".tiles") ? [image.nextElementSibling] : [];
      image.before(opener);
      opener.append(image, ...tiles);
    } else if (opener.href !== image.src) continue;
    const box = document.createElement("div");
    box.className = "scrolling";
    box.style.setProperty("--width", image.style.width || `${image.getAttribute("width")}px`);
    opener.before(box);
    box.append(opener);
    [opener.className, opener.title] = ["enlarge", "Enlarge"];
    opener.setAttribute("aria-haspopup", "dialog");
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      [enlarged.src, enlarged.alt] = [image.src, image.alt];
      dialog.showModal();
    });
  }
});
