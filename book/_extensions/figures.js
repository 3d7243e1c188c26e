// Figures and tables: what is wider than the page can be scrolled by keyboard.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("div.output.text_html")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  }
});
