// The table: numbers sort in descending order first, names in ascending order.
const headings = [...document.querySelectorAll("#scores th")];
headings.forEach((heading, column) => heading.querySelector("button").onclick = () => {
  const first = column === 0 ? "ascending" : "descending";
  const second = column === 0 ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? second : first;
  headings.forEach(other => other.removeAttribute("aria-sort"));
  heading.setAttribute("aria-sort", order);
  const body = document.querySelector("#scores tbody");
  const value = row => row.children[column].dataset.value;
  const compare = column === 0 ? (a, b) => value(a).localeCompare(value(b)) : (a, b) => value(a) - value(b);
  body.append(...[...body.rows].sort((a, b) => order === "ascending" ? compare(a, b) : compare(b, a)));
});

// The confusion matrix, normalised by row.
const canvas = document.getElementById("matrix");
const sums = counts.map(row => row.reduce((sum, count) => sum + count, 0));
let cell = 0, margin = 0, chosen = null;

function draw() {
  const style = getComputedStyle(page);
  const width = canvas.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(canvas.parentElement).paddingLeft);
  const pen = canvas.getContext("2d");
  const font = Math.max(9, Math.min(13, width / 60));
  pen.font = `${font}px sans-serif`;
  const longest = Math.max(...classes.map(name => pen.measureText(name).width));
  const names = (Math.min(width, 900) - longest) / classes.length >= font;  // otherwise hide the names
  margin = names ? longest + 12 : 0;
  cell = Math.min(44, (width - margin - 2) / classes.length);
  const end = margin + cell * classes.length, side = end + 2, sharp = window.devicePixelRatio || 1;
  canvas.width = canvas.height = side * sharp;
  canvas.style.width = canvas.style.height = `${side}px`;
  pen.scale(sharp, sharp);
  pen.font = `${font}px sans-serif`;
  const text = style.getPropertyValue("--text"), line = style.getPropertyValue("--line"), heat = style.getPropertyValue("--heat");
  counts.forEach((row, y) => row.forEach((count, x) => {
    const share = sums[y] ? count / sums[y] : 0;
    pen.fillStyle = `rgba(${heat}, ${Math.sqrt(share)})`;  // the square root makes small values visible
    pen.fillRect(margin + x * cell, margin + y * cell, cell, cell);
    if (cell >= 26 && share >= 0.005) {
      pen.fillStyle = share > 0.4 ? "#fff" : text;
      pen.textAlign = "center";
      pen.fillText(Math.round(100 * share), margin + (x + 0.5) * cell, margin + (y + 0.5) * cell + font / 3);
    }
  }));
  pen.strokeStyle = line;
  pen.lineWidth = 1;
  if (cell >= 6) for (let i = 0; i <= classes.length; i++) {
    pen.strokeRect(margin + i * cell, margin, 0, end - margin);
    pen.strokeRect(margin, margin + i * cell, end - margin, 0);
  }
  pen.fillStyle = text;
  if (names) classes.forEach((name, i) => {
    pen.textAlign = "right";
    pen.fillText(name, margin - 5, margin + (i + 0.5) * cell + font / 3);
    pen.save();
    pen.translate(margin + (i + 0.5) * cell + font / 3, margin - 5);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "left";
    pen.fillText(name, 0, 0);
    pen.restore();
  });
  if (chosen) {
    pen.strokeStyle = text;
    pen.lineWidth = 2;
    pen.strokeRect(margin + chosen[0] * cell, margin + chosen[1] * cell, cell, cell);
  }
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  const x = Math.floor((event.clientX - box.left - margin) / cell), y = Math.floor((event.clientY - box.top - margin) / cell);
  if (x < 0 || y < 0 || x >= classes.length || y >= classes.length) return;
  chosen = [x, y];
  const share = sums[y] ? (100 * counts[y][x] / sums[y]).toFixed(2) : "0.00";
  const number = counts[y][x].toLocaleString("en");
  document.querySelector("#cell").replaceChildren(...[
    ["en", `${classes[y]}, predicted as ${classes[x]}: ${number} pixels, ${share} % of ${classes[y]}`],
    ["zh", `${classes[y]} 被预测为 ${classes[x]}:${number} 像素,占 ${classes[y]} 的 ${share} %`],
  ].map(([lang, text]) => Object.assign(document.createElement("span"), { lang, textContent: text })));
  draw();
}
canvas.onpointermove = canvas.onpointerdown = point;
window.addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
