// Preview of pictures named preview_MODE_VIEW.jpg: radio buttons choose the mode, the slider or a drag the view.
(() => {
  const state = (viewer) => ({
    image: viewer.querySelector("img"),
    slider: viewer.querySelector("input[type=range]"),
    radio: viewer.querySelector("input[type=radio]:checked"),
    views: Number(viewer.dataset.views),
  });
  const url = (viewer, mode, view) => `${viewer.dataset.base}preview_${mode}_${view}.jpg`;

  const fetchAhead = (viewer) => {
    const { radio, views } = state(viewer);
    for (let view = 0; view < views; view++) new Image().src = url(viewer, radio.value, view);
  };
  const show = (viewer) => {
    const { image, slider, radio } = state(viewer);
    image.src = url(viewer, radio.value, slider.value);
    image.alt = `Preview, ${radio.parentElement.textContent.trim()}, view ${Number(slider.value) + 1}`;
  };

  document.addEventListener("input", (event) => {
    const viewer = event.target.closest?.(".viewer");
    if (!viewer || !event.target.matches("input[type=range], input[type=radio]")) return;
    show(viewer);
    fetchAhead(viewer);
  });

  let drag = null; // { viewer, x, start }
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.matches?.(".viewer > img")) return;
    const viewer = event.target.closest(".viewer");
    drag = { viewer, x: event.clientX, start: Number(state(viewer).slider.value) };
    fetchAhead(viewer);
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const { slider, views, image } = state(drag.viewer);
    const steps = Math.round(((event.clientX - drag.x) / image.clientWidth) * views);
    const view = (((drag.start - steps) % views) + views) % views;
    if (Number(slider.value) === view) return;
    slider.value = view;
    show(drag.viewer);
  });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => (drag = null));
})();
