const page = document.documentElement;

function setLanguage(language) {
  page.dataset.lang = language;
  page.lang = language;
}
setLanguage(navigator.language.startsWith("zh") ? "zh" : "en");
document.getElementById("language").onclick = () => setLanguage(page.dataset.lang === "en" ? "zh" : "en");
