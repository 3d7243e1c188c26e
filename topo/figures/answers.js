// Pictures that answer. The data of one, which topo/figures/answers.py describes, stands in a script element of class
// answers, whose data-picture is the id of the picture or of what holds it. A drawing takes the place of the picture, or
// stands below it where the data says that it stays; without scripts the picture is all there is. How a drawing is made its own
// script says: window.answers has a function for each kind of data.
window.answers = {
  svg(name, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    answers.set(element, attributes);
    element.append(...children);
    return element;
  },

  set(element, attributes) {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  },

  html(name, properties, ...children) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  },

  // Whole numbers written to base 64, so many digits each, the highest first.
  unpack(text, digits) {
    const signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const numbers = new Array(text.length / digits).fill(0);
    for (let i = 0; i < text.length; i++) {
      const place = Math.floor(i / digits);
      numbers[place] = 64 * numbers[place] + signs.indexOf(text[i]);
    }
    return numbers;
  },

  // An array in pieces of so many entries.
  pieces(array, size) {
    return Array.from({ length: array.length / size }, (_, i) => array.slice(i * size, (i + 1) * size));
  },

  // A square patch around (x, y): gray pixels, row by row, from 0, which is black, to 63.
  patch(grays, x, y, side) {
    const width = Math.sqrt(grays.length), pixel = side / width, group = answers.svg("g", { class: "patch" });
    grays.forEach((value, i) => {
      const level = Math.round(255 * value / 63);
      group.append(answers.svg("rect", {
        x: x - side / 2 + (i % width) * pixel, y: y - side / 2 + Math.floor(i / width) * pixel,
        width: pixel * 1.02, height: pixel * 1.02, fill: `rgb(${level},${level},${level})`, // no gaps between pixels
      }));
    });
    group.append(answers.svg("rect", { x: x - side / 2, y: y - side / 2, width: side, height: side, class: "frame" }));
    return group;
  },

  // A patch as a picture of its own.
  filter(grays) {
    return answers.svg("svg", { viewBox: "-1 -1 102 102", "aria-hidden": "true" }, answers.patch(grays, 50, 50, 100));
  },
};

document.addEventListener("DOMContentLoaded", () => {
  for (const script of document.querySelectorAll("script.answers")) {
    const id = script.dataset.picture, place = document.getElementById(id);
    const image = place?.matches("img") ? place : place?.querySelector("img");
    if (!image) continue;
    const data = JSON.parse(script.textContent), replaced = image.closest("a") ?? image; // Sphinx links to some pictures
    replaced.after(answers[data.kind](data, image.alt, id));
    replaced.hidden = !data.stays;
  }
});
