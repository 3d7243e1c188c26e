// Folds the code of a page, so that its argument is read first. One switch below the title unfolds all of it, and the
// browser remembers the choice. Without scripts the code is simply there.
document.addEventListener("DOMContentLoaded", () => {
  const inputs = [...document.querySelectorAll("div.cell > div.cell_input")];
  const title = document.querySelector(".bd-article h1");
  if (!inputs.length || !title) return;

  const remembered = {
    get() { try { return localStorage.getItem("topo-code") === "shown"; } catch { return false; } },
    set(shown) { try { localStorage.setItem("topo-code", shown ? "shown" : "folded"); } catch { /* a private window */ } },
  };

  const boxes = inputs.map((input) => {
    const box = document.createElement("details"), summary = document.createElement("summary");
    const parameters = input.parentElement.classList.contains("tag_parameters");
    const lines = input.querySelectorAll("pre")[0]?.textContent.trimEnd().split("\n").length ?? 0;
    summary.textContent = parameters ? "Parameters" : `Code, ${lines} line${lines === 1 ? "" : "s"}`;
    box.className = "code";
    input.before(box);
    box.append(summary, input);
    return box;
  });

  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-switch";
  const show = (shown) => {
    boxes.forEach((box) => { box.open = shown; });
    button.textContent = shown ? "Fold all code" : "Show all code";
    button.setAttribute("aria-pressed", String(shown));
  };
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    remembered.set(shown);
    show(shown);
  });
  title.after(button);
  show(remembered.get());
});
