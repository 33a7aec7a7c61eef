"use strict";
const page = document.documentElement, find = id => document.getElementById(id);
const stage = find("stage"), colours = find("colours"), pen = colours.getContext("2d");
const LARGEST = 2 ** 25;  // pixels of the colours on the screen; those of a larger image are drawn smaller

let network = null;  // {title, names, colours, max_upload, example}
let shown = null;    // {name, width, height, seconds, classes, mask, counts, step}
let chosen = null;   // index of the highlighted class
let spot = null;     // [x, y], the pixel whose class is named
let running = null;  // AbortController of the request

// Text in two languages. Text of the page stands in both; what is written later is made again at a change.
const say = (en, zh) => page.lang === "zh" ? zh : en;
function setLanguage(language) {
  page.lang = language;
  document.title = find("network").textContent ? `OCRNet ${find("network").textContent}` : "OCRNet";
  stage.setAttribute("aria-label", say("The segmented image. Arrow keys move a point, whose class is named; with Shift, by one pixel.",
    "分割后的图像。方向键移动一个点并显示该点的类别；按住 Shift 时每次移动一个像素。"));
  if (shown) { describe(); fillLegend(); nameClass(); }
}
find("language").onclick = () => setLanguage(say("zh", "en"));

function fail(text) {
  find("problem").textContent = text;
  find("problem").hidden = !text;
}

// An answer of the server; its text is the message if something is wrong.
async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, { ...options, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(say("The program does not answer. Is it still running?", "程序没有响应，请检查它是否仍在运行。"));
  }
  if (answer.ok) return answer;
  if (answer.status >= 500) throw new Error(say("The program failed; its terminal says why.", "程序出错，原因见其终端输出。"));
  throw new Error(await answer.text());
}

async function segment(file) {
  if (!network) return;
  fail("");
  running?.abort();
  const mine = running = new AbortController(), started = performance.now();
  page.dataset.state = "busy";
  const clock = setInterval(() => find("waiting").textContent = `${Math.round((performance.now() - started) / 1000)} s`, 1000);
  find("waiting").textContent = "";
  try {
    const largest = network.max_upload / 2 ** 20;
    if (file.size > network.max_upload)
      throw new Error(say(`${file.name}: larger than ${largest} MB`, `${file.name}：大于 ${largest} MB`));
    const answer = await ask(`/segment?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, signal: mine.signal });
    const parts = await answer.formData();
    const result = {
      name: file.name, ...JSON.parse(parts.get("about")), mask: parts.get("mask"),
      classes: new Uint8Array(await parts.get("classes").arrayBuffer()),
    };
    if (mine !== running) return;
    const photo = find("photo"), old = photo.src;
    photo.src = URL.createObjectURL(parts.get("image"));
    if (old) URL.revokeObjectURL(old);
    await photo.decode();
    show(result);
    if (mine === running) page.dataset.state = "ready";
  } catch (error) {
    if (mine !== running) return;
    page.dataset.state = shown ? "ready" : "empty";
    fail(error.message);
  } finally {
    clearInterval(clock);
  }
}

function show(result) {
  shown = result;
  chosen = spot = null;
  shown.counts = new Array(network.names.length).fill(0);
  for (const index of shown.classes) shown.counts[index]++;
  const { width, height } = shown;
  shown.step = Math.max(1, Math.ceil(Math.max(Math.sqrt(width * height / LARGEST), width / 16384, height / 16384)));
  colours.width = Math.ceil(width / shown.step);
  colours.height = Math.ceil(height / shown.step);
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.width = `min(100%, calc(var(--tallest) * ${width / height}))`;
  page.dataset.shown = "";
  colours.style.imageRendering = stage.clientWidth > width ? "pixelated" : "auto";  // an enlarged mask keeps its edges
  drawColours();
  describe();
  fillLegend();
  nameClass();
}

function describe() {
  const size = `${shown.width} × ${shown.height}`, seconds = shown.seconds.toFixed(1);
  find("about").textContent = say(`${shown.name}: ${size} pixels, ${seconds} s`, `${shown.name}：${size} 像素，用时 ${seconds} 秒`);
  find("photo").alt = shown.name;
}

// The colours have the opacity of the slider. If a class is highlighted, the others are darkened instead.
function drawColours() {
  const { width, height, classes, step } = shown, opacity = find("opacity").value / 100;
  const image = pen.createImageData(colours.width, colours.height), pixels = new Uint32Array(image.data.buffer);
  const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
  const table = Uint32Array.from(network.colours, (colour, index) => {
    const own = chosen === null || chosen === index, value = own ? parseInt(colour.slice(1), 16) : 0x0a0c10;
    const alpha = chosen === null ? 255 : own ? Math.round(255 * opacity) : 190;
    const [red, green, blue] = [value >> 16, value >> 8 & 255, value & 255];
    return little ? (alpha << 24 | blue << 16 | green << 8 | red) >>> 0 : (red << 24 | green << 16 | blue << 8 | alpha) >>> 0;
  });
  for (let y = 0, place = 0; y < height; y += step)
    for (let x = 0, row = y * width; x < width; x += step) pixels[place++] = table[classes[row + x]];
  pen.putImageData(image, 0, 0);
  setOpacity();
}

function setOpacity() {
  const percent = find("opacity").value;
  find("percent").textContent = `${percent} %`;
  colours.style.opacity = chosen === null ? percent / 100 : 1;
}
let waits = false;
find("opacity").oninput = () => {
  setOpacity();
  if (chosen === null || waits) return;
  waits = true;
  requestAnimationFrame(() => { waits = false; drawColours(); });
};

// The legend: classes of the image, the most frequent first.
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
function swatch(index) {
  const made = element("i", { className: "swatch" });
  made.style.background = network.colours[index];
  return made;
}
function share(index) {
  const percent = 100 * shown.counts[index] / shown.classes.length;
  return percent >= 0.01 ? `${percent.toFixed(2)} %` : "< 0.01 %";
}
function fillLegend() {
  const order = network.names.map((_, index) => index).sort((a, b) => shown.counts[b] - shown.counts[a]);
  const here = order.filter(index => shown.counts[index]), absent = order.filter(index => !shown.counts[index]);
  find("legend").replaceChildren(...here.map(index => {
    const bar = element("i");
    bar.style.width = `${100 * shown.counts[index] / shown.classes.length}%`;
    const button = element("button", { type: "button", onclick: () => highlight(index) }, swatch(index),
      element("span", { textContent: network.names[index] }), element("div", { className: "bar" }, bar),
      element("b", { textContent: share(index) }));
    button.dataset.index = index;
    button.setAttribute("aria-pressed", chosen === index);
    return element("li", {}, button);
  }));
  find("absent").hidden = !absent.length;
  find("absent").firstElementChild.textContent = say(`${absent.length} more, not in this image`, `另有 ${absent.length} 类未出现`);
  find("absent").lastElementChild.textContent = absent.map(index => network.names[index]).join(say(", ", "、"));
}
function highlight(index) {
  chosen = chosen === index ? null : index;
  for (const button of find("legend").querySelectorAll("button"))
    button.setAttribute("aria-pressed", chosen === Number(button.dataset.index));
  drawColours();
}

// The class under the pointer, or at the point that the arrow keys move.
function nameClass(withCross = false) {
  const tip = find("tip"), cross = find("cross");
  tip.hidden = !spot;
  cross.hidden = !spot || !withCross;
  const index = spot && shown.classes[spot[1] * shown.width + spot[0]];
  for (const button of find("legend").querySelectorAll("button"))
    button.classList.toggle("under", !!spot && Number(button.dataset.index) === index);
  if (!spot) {
    find("under").textContent = say("Point at the image, or touch it, to see a class.", "将指针移到图像上，或触摸图像，可查看类别。");
    return;
  }
  const [x, y] = spot, left = (x + 0.5) / shown.width, top = (y + 0.5) / shown.height;
  tip.replaceChildren(swatch(index), element("span", { textContent: network.names[index] }));
  tip.style.left = `${100 * left}%`;
  tip.style.top = `${100 * top}%`;
  tip.style.transform = `translate(${left > 0.5 ? "calc(-100% - 12px)" : "12px"}, ${top > 0.15 ? "calc(-100% - 10px)" : "18px"})`;
  cross.style.left = tip.style.left;
  cross.style.top = tip.style.top;
  find("under").textContent = `${network.names[index]} · x ${x}, y ${y}`;
}
function point(event) {
  const box = stage.getBoundingClientRect();
  const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value * size)));
  spot = [inside((event.clientX - box.left) / box.width, shown.width), inside((event.clientY - box.top) / box.height, shown.height)];
  nameClass(event.pointerType === "touch");
}
stage.onpointermove = stage.onpointerdown = point;
stage.onpointerleave = event => {
  if (event.pointerType === "touch") return;  // what was touched stays named
  spot = null;
  nameClass();
};
stage.onkeydown = event => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  const { width, height } = shown, pace = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 60));
  spot ??= [width >> 1, height >> 1];
  spot = [Math.min(width - 1, Math.max(0, spot[0] + pace * move[0])), Math.min(height - 1, Math.max(0, spot[1] + pace * move[1]))];
  nameClass(true);
};
stage.onblur = () => { spot = null; nameClass(); };
window.addEventListener("keydown", event => { if (event.key === "Escape" && chosen !== null) highlight(chosen); });

// Downloads.
const makers = {
  mask: async () => [shown.mask, "_mask.png"],
  overlay: async () => {
    const canvas = element("canvas", { width: shown.width, height: shown.height }), brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = false;
    brush.drawImage(find("photo"), 0, 0);
    brush.globalAlpha = Number(colours.style.opacity);
    brush.drawImage(colours, 0, 0, colours.width * shown.step, colours.height * shown.step);
    const file = await new Promise(done => canvas.toBlob(done, "image/jpeg", 0.95));
    if (!file) throw new Error(say("This image is too large for the browser to store.", "图像过大，浏览器无法保存。"));
    return [file, "_overlay.jpg"];
  },
  polygons: async () => [await (await ask("/polygons", { method: "POST", body: shown.mask })).blob(), ".geojson"],
};
for (const button of document.querySelectorAll("[data-save]")) button.onclick = async () => {
  fail("");
  button.disabled = true;
  try {
    const name = shown.name.replace(/\.[^.]*$/, ""), [file, ending] = await makers[button.dataset.save]();
    const address = URL.createObjectURL(file);
    element("a", { href: address, download: name + ending }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  } catch (error) {
    fail(error.message);
  } finally {
    button.disabled = false;
  }
};

// Images: chosen, dropped anywhere on the page, pasted, or the example.
find("file").onchange = event => {
  if (event.target.files.length) segment(event.target.files[0]);
  event.target.value = "";  // so that the same file can be chosen again
};
let inside = 0;  // drag events come from every element that the pointer enters
const dragging = change => page.classList.toggle("dragging", (inside = Math.max(0, inside + change)) > 0);
window.addEventListener("dragenter", () => dragging(1));
window.addEventListener("dragleave", () => dragging(-1));
window.addEventListener("dragover", event => event.preventDefault());
window.addEventListener("drop", event => {
  event.preventDefault();
  dragging(-inside);
  if (event.dataTransfer.files.length) segment(event.dataTransfer.files[0]);
});
window.addEventListener("paste", event => { if (event.clipboardData.files.length) segment(event.clipboardData.files[0]); });
find("example").onclick = async () => {
  try {
    segment(new File([await (await ask("/example.png")).blob()], "example.png"));
  } catch (error) {
    fail(error.message);
  }
};

setLanguage(navigator.language.startsWith("zh") ? "zh" : "en");
ask("/network").then(answer => answer.json()).then(about => {
  network = about;
  find("network").textContent = network.title;
  find("example").hidden = !network.example;
  setLanguage(page.lang);
  page.dataset.loaded = "";
}).catch(error => fail(error.message));
