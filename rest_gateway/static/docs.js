// Swagger UI, in the reader's colour scheme, as a page that a screen reader can walk.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

/** Swagger UI puts a link into each operation's button; a control in a control is neither reached nor told apart. */
const plainPaths = (system) => ({ wrapComponents: { DeepLink: () => ({ text }) => system.React.createElement("span", null, text) } });

/** Its examples scroll where only a mouse gets, its headings leave the second level out, and its title is in no landmark. */
function mend(root) {
  for (const example of root.querySelectorAll("pre.microlight:not([tabindex])")) example.tabIndex = 0;
  for (const heading of root.querySelectorAll("h3, h4, h5")) heading.ariaLevel ??= String(Number(heading.localName[1]) - 1);
  root.querySelector(".information-container:not([role])")?.setAttribute("role", "banner");
}

const root = document.getElementById("swagger-ui");
new MutationObserver(() => mend(root)).observe(root, { childList: true, subtree: true });
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, plugins: [plainPaths] });
