"""The pages as a person uses them: real clicks in Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from o_voxel.gltf import GltfFile

REPO = Path(__file__).resolve().parents[2]
PICTURE = REPO / "assets" / "example_image" / "duck.png"
AXE = REPO / "tests" / "tools" / "node_modules" / "axe-core" / "axe.min.js"
MESH = REPO / "assets" / "example_mesh" / "duck.glb"

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def site(serve_page):
    return serve_page("image")


@pytest.fixture
def visit(browser):
    """Call with an address: a page of a new visitor. Console errors and requests to other hosts fail the test."""
    contexts, problems = [], []

    def open_page(address, context=None, **options):
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            # Chromium without a graphics card offers WebGPU and then fails to start it; WebGL it draws in software.
            context.add_init_script("delete Navigator.prototype.gpu")
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" and not _left(m.text) else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        # Nothing is fetched from anywhere else.
        page.on("request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else problems.append(r.url))
        page.goto(address)
        page.wait_for_selector("#generate")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def _left(text):
    """A stream that ends because its page is left or loaded again."""
    return text.startswith(("AbortError", "TypeError: network error", "Unexpected error Connection errored out"))


def set_seed(page, seed):
    page.get_by_label("New random seed every time").uncheck()
    page.get_by_label("Seed", exact=True).fill(str(seed))


def generate(page, seed=7, picture=PICTURE):
    page.set_input_files("#image input[type=file]", str(picture))
    page.wait_for_selector("#image img")
    set_seed(page, seed)
    page.click("#generate")


def shown(page):
    return page.locator("#viewer img").get_attribute("src")


def test_from_picture_to_downloaded_file(site, visit):
    address, _ = site
    page = visit(address)
    generate(page)
    page.wait_for_selector("#viewer img")
    page.wait_for_selector("#status:has-text('Done in')")
    assert shown(page).endswith("preview_shaded-studio_0.jpg")
    page.get_by_label("Turn the object").fill("3")
    assert shown(page).endswith("preview_shaded-studio_3.jpg")
    for label, name in (("Sunset", "shaded-sunset"), ("Clay", "clay"), ("Roughness", "roughness")):
        page.get_by_text(label, exact=True).click()
        assert shown(page).endswith(f"preview_{name}_3.jpg")
    page.locator("#model").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#viewer img').naturalWidth === 64")
    page.click("#extract")
    page.wait_for_selector("#download:not([disabled])")
    page.locator("#model").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#model model-viewer')?.loaded === true")
    assert page.get_by_text("1,234 triangles").is_visible()
    with page.expect_download() as download:
        page.click("#download")
    content = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename.endswith(".glb") and content == MESH.read_bytes()
    assert GltfFile.parse(content).item("meshes", 0)


def test_modes_can_be_chosen_with_the_keyboard(site, visit):
    page = visit(site[0])
    generate(page)
    page.wait_for_selector("#status:has-text('Done in')")
    page.locator("#viewer input[value='shaded-studio']").focus()
    page.keyboard.press("ArrowRight")
    assert "shaded-forest" in shown(page)


def test_a_change_of_the_preview_takes_no_time(site, visit):
    page = visit(site[0])
    generate(page)
    page.wait_for_selector("#status:has-text('Done in')")
    milliseconds = page.evaluate(
        """async () => {
            const image = document.querySelector("#viewer img"), times = [];
            for (const radio of document.querySelectorAll("#viewer input[type=radio]")) {
                const start = performance.now();
                radio.click();
                await new Promise((done) => image.complete ? done() : (image.onload = done));
                await image.decode();
                times.push(performance.now() - start);
            }
            return times;
        }"""
    )
    assert len(milliseconds) == 14 and sorted(milliseconds)[7] < 200, milliseconds


def test_the_device_is_shown(site, visit):
    page = visit(site[0])
    page.wait_for_selector("#hardware:has-text('a pretended device')")


def test_without_a_picture_there_is_a_message(site, visit):
    page = visit(site[0])
    page.click("#generate")
    page.wait_for_selector("text=Choose a picture first.")


def test_a_file_that_is_no_picture_is_refused_in_words(site, visit, tmp_path):
    page = visit(site[0])
    wrong = tmp_path / "notes.png"
    wrong.write_text("not a picture")
    page.set_input_files("#image input[type=file]", str(wrong))
    page.click("#generate")
    page.wait_for_selector(".toast-body.error, .toast-wrap")


def test_failures_are_told_and_the_page_goes_on(site, visit):
    page = visit(site[0])
    generate(page, seed=13)
    page.wait_for_selector("text=This did not work: the picture shows nothing")
    generate(page, seed=8)
    page.wait_for_selector("#status:has-text('Done in')")


def test_cancel_frees_the_queue(site, visit):
    page, other = visit(site[0]), visit(site[0])
    generate(page, seed=14)
    page.wait_for_selector("#status:has-text('step')")
    generate(other, seed=9)
    other.wait_for_selector("#status:has-text('Starting next')")
    page.click("#cancel")
    page.wait_for_selector("#status:has-text('Cancelled')")
    other.wait_for_selector("#status:has-text('Done in')")
    assert page.locator("#generate").is_enabled()


def test_sessions_stay_apart_and_a_reload_keeps_the_history(site, visit):
    mine = visit(site[0])
    generate(mine, seed=21)
    mine.wait_for_selector("#status:has-text('Done in')")
    mine.wait_for_selector("#history img")
    mine.reload()
    mine.wait_for_selector("#history img")
    mine.locator("#history button:has(img)").first.click()
    mine.wait_for_selector("#viewer img")
    theirs = visit(site[0])
    theirs.wait_for_selector("#status:has-text('Choose a picture')")
    assert theirs.locator("#history img").count() == 0


def test_a_reload_finds_the_running_job_again(site, visit):
    page = visit(site[0])
    generate(page, seed=14)
    page.wait_for_selector("#status:has-text('step')")
    page.reload()
    page.wait_for_selector("#status:has-text('step')")
    page.click("#cancel")
    page.wait_for_selector("#status:has-text('Cancelled')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violations(site, visit, scheme):
    if not AXE.is_file():
        pytest.skip("axe-core is not installed (npm install --prefix tests/tools)")
    page = visit(site[0], color_scheme=scheme)
    generate(page)
    page.wait_for_selector("#status:has-text('Done in')")
    page.click("#extract")
    page.wait_for_selector("#download:not([disabled])")
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run()")["violations"]
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_it_fits_a_phone(site, visit):
    page = visit(site[0], viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_texturing_a_mesh(serve_page, visit):
    address, _ = serve_page("texturing")
    page = visit(address)
    page.set_input_files("#mesh input[type=file]", str(MESH))
    generate(page)
    page.wait_for_selector("#download:not([disabled])")
    page.locator("#model").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#model model-viewer')?.loaded === true")
    # Clicked before the asset was shown, the download was once reported as cancelled; the cause is not known.
    with page.expect_download() as download:
        page.click("#download")
    assert Path(download.value.path()).read_bytes() == MESH.read_bytes()
