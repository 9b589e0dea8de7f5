// Names for buttons that show nothing but a picture: gradio's examples have none of their own.
(() => {
  const name = () => {
    document.querySelectorAll("button.gallery-item:not([aria-label])").forEach((button, index) => {
      button.setAttribute("aria-label", `Example ${index + 1}`);
    });
  };
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
  name();
})();
