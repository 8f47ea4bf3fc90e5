// Of every page: the theme is what the system prefers until the button says otherwise; a dialog lists the keys.
const short = (value) => Number(value.toPrecision(3)).toString();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

{
  const root = document.documentElement, button = document.querySelector(".theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  prefersDark.addEventListener("change", name);
  name();
  document.querySelector(".show-keys")?.addEventListener("click", () => document.querySelector("#keys").showModal());
}
