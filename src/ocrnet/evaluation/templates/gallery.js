// The gallery: the layers are chosen for all images, each image has its own slider.
const chosenLayers = document.querySelector(".choose");
const sides = chosenLayers ? { ...chosenLayers.dataset } : {};

function showLayers() {
  document.querySelectorAll(".choose button").forEach(button =>
    button.setAttribute("aria-pressed", sides[button.parentElement.dataset.side] === button.dataset.layer));
  document.querySelectorAll(".stage img").forEach(image =>
    image.className = Object.keys(sides).filter(side => sides[side] === image.dataset.layer).join(" "));
}
document.querySelectorAll(".choose button").forEach(button => button.onclick = () => {
  sides[button.parentElement.dataset.side] = button.dataset.layer;
  showLayers();
});
document.querySelectorAll(".stage input").forEach(slider => slider.oninput = () =>
  slider.parentElement.style.setProperty("--at", `${slider.value}%`));
showLayers();
