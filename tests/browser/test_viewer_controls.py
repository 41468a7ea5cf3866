"""Mouse, touch, keyboard and buttons do what the help says."""

import time

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import cloud, moving, path

from lyra.scene import Gaussians


@pytest.fixture(scope="module")
def still(show):
    """A page with a static scene and a path of five cameras."""
    return show(cloud(400, 0), cameras=path(), title="Controls")


@pytest.fixture(scope="module")
def motion(show):
    """A page with a moving scene, paused."""
    tab = show(moving(), cameras=path())
    tab.evaluate("lyra.pause()")
    return tab


@pytest.fixture
def tab(still):
    """The static page at its first camera, orbiting."""
    _press(still, "r")
    return still


def _pose(tab) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (columns right, down, forward) and centre, once all travelling is done and drawn."""
    matrix = np.array(tab.evaluate("lyra.screenshot().then(() => lyra.getCamera())")["c2w"])
    return matrix[:3, :3], matrix[:3, 3]


def _press(tab, key: str):
    tab.key(key)
    return _pose(tab)


def _fly(tab, key: str):
    """Hold a key until the camera has moved by a tenth of a unit."""
    x, y, z = _pose(tab)[1]
    tab.key(
        key, f"lyra.getCamera().then(({{ c2w: [a, b, c] }}) => Math.hypot(a[3] - {x}, b[3] - {y}, c[3] - {z}) > 0.1)"
    )
    return _pose(tab)


def _is_camera(tab, i: int) -> bool:
    rotation, center = _pose(tab)
    expected = path().c2w[i].numpy()
    return np.allclose(rotation, expected[:3, :3], atol=1e-5) and np.allclose(center, expected[:3, 3], atol=1e-5)


def _set(tab, slider: str, value: float) -> None:
    tab.evaluate(
        f"(e => {{ e.value = {value}; e.dispatchEvent(new Event('input')) }})(document.querySelector('{slider}'))"
    )


def _click(tab, selector: str) -> None:
    x, y = tab.evaluate(
        f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('{selector}').getBoundingClientRect())"
    )
    tab.mouse("mouseMoved", x, y)  # brings back controls that have faded away
    tab.click(x, y)


def test_drag_orbits_around_a_point_on_the_line_of_sight(tab):
    (before, eye), _ = _pose(tab), tab.drag((160, 90), (220, 90))
    after, moved = _pose(tab)
    turn = np.degrees(np.arccos(np.clip(before[:, 2] @ after[:, 2], -1, 1)))
    assert turn == pytest.approx(np.degrees(60 * 0.005), rel=0.1)
    # the two lines of sight meet in the pivot, equally far from both eyes
    a, b = np.linalg.lstsq(np.stack([before[:, 2], -after[:, 2]], 1), moved - eye, rcond=None)[0]
    assert a == pytest.approx(b, rel=1e-3) and a > 0.5
    assert np.allclose(eye + a * before[:, 2], moved + b * after[:, 2], atol=1e-3)
    assert (moved - eye) @ before[:, 0] < 0, "content follows the pointer to the right, so the eye goes left"


def test_orbit_stops_before_the_poles(tab):
    up = -path().c2w[:, :3, 1].mean(0).numpy()
    for end in (170, 10):
        for _ in range(5):
            tab.drag((160, 90), (160, end))
        rotation, _ = _pose(tab)
        assert -rotation[:, 1] @ up > 0, "never upside down"
        tab.key("r")


@pytest.mark.parametrize("options", [{"button": "right"}, {"shift": True}])
def test_right_or_shift_drag_moves_sideways_only(tab, options):
    before, eye = _pose(tab)
    tab.drag((160, 90), (200, 120), **options)
    after, moved = _pose(tab)
    x, y, z = before.T @ (moved - eye)
    assert np.allclose(before, after) and x < -0.01 and y < -0.01 and abs(z) < 1e-6


def test_wheel_and_keys_zoom_along_the_line_of_sight(tab):
    before, eye = _pose(tab)
    tab.mouse("mouseWheel", 160, 90, deltaX=0, deltaY=-200)
    after, moved = _pose(tab)
    x, y, z = before.T @ (moved - eye)
    assert np.allclose(before, after) and z > 0.1 and abs(x) + abs(y) < 1e-6
    _, nearer = _press(tab, "+")
    _, back = _press(tab, "-")
    assert (nearer - moved) @ before[:, 2] > 0.01 and np.allclose(back, moved, atol=1e-6)


def test_arrow_keys_turn(tab):
    before, _ = _pose(tab)
    after, _ = _press(tab, "ArrowRight")
    assert before[:, 2] @ after[:, 2] < 0.9999


def test_fly_keys_move_and_drag_then_looks(tab):
    before, eye = _pose(tab)
    after, moved = _fly(tab, "w")
    x, y, z = before.T @ (moved - eye)
    assert np.allclose(before, after) and z > 0.05 and abs(x) + abs(y) < 1e-6
    assert tab.evaluate("document.querySelector('#do-fly').getAttribute('aria-pressed')") == "true"
    _, aside = _fly(tab, "d")
    assert (aside - moved) @ before[:, 0] > 0.05
    tab.drag((160, 90), (200, 90))
    looked, still_there = _pose(tab)
    assert np.allclose(still_there, aside) and looked[:, 2] @ before[:, 2] < 0.99
    _press(tab, "v")
    assert tab.evaluate("document.querySelector('#do-fly').getAttribute('aria-pressed')") == "false"


def test_reset_goes_home(tab):
    tab.drag((100, 50), (220, 130))
    _fly(tab, "w")
    assert not _is_camera(tab, 0)
    _press(tab, "r")
    assert _is_camera(tab, 0)
    assert tab.evaluate("document.querySelector('#where').textContent") == "Camera 1 / 5"


def test_path_by_keys_buttons_and_slider(tab):
    tab.key("]")
    assert _is_camera(tab, 1)
    _click(tab, "#next")
    assert _is_camera(tab, 2)
    _click(tab, "#previous")
    assert _is_camera(tab, 1)
    _set(tab, "#station", 4)
    assert _is_camera(tab, 4)
    tab.key("]")
    assert _is_camera(tab, 4), "the path ends at its last camera"
    assert tab.evaluate("document.querySelector('#where').textContent") == "Camera 5 / 5"


def test_double_click_turns_to_what_is_there_and_orbits_it(show):
    means = torch.tensor([[0.6, 0.3, 2.0]])
    ball = Gaussians.from_rgb(
        means, torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), 0.15), torch.tensor([0.95]), torch.ones(1, 3)
    )
    tab = show(ball, cameras=path()[:1])
    (x, y), _ = path()[0].project(means)[0][0].tolist(), None
    tab.click(x, y, count=2)
    for _ in range(2):
        rotation, eye = _pose(tab)
        target = rotation.T @ (means[0].numpy() - eye)
        assert np.abs(target[:2]).max() < 0.02, "the ball is at the centre, also after turning around it"
        assert target[2] == pytest.approx(float(means.norm()), rel=0.02)
        tab.drag((100, 60), (180, 90))


def test_touch_orbits_moves_and_pinches(show):
    tab = show(cloud(400, 0), cameras=path(), mobile=True)
    before, eye = _pose(tab)
    tab.touch([(100, 60)], [(120, 60)], [(150, 60)])
    after, moved = _pose(tab)
    assert before[:, 2] @ after[:, 2] < 0.999 and np.linalg.norm(moved - eye) > 0.1
    tab.touch([(140, 60), (180, 60)], [(120, 60), (200, 60)], [(100, 60), (220, 60)])
    pinched, nearer = _pose(tab)
    assert np.allclose(pinched, after) and (nearer - moved) @ after[:, 2] > 0.1
    tab.touch([(140, 60), (180, 60)], [(140, 80), (180, 80)], [(140, 100), (180, 100)])
    same, lower = _pose(tab)
    assert np.allclose(same, after) and (lower - nearer) @ after[:, 1] < -0.05


def test_background_by_key_and_swatch(tab):
    tab.key("b")
    for name, value in (("white", 255), ("grey", 128), ("black", 0)):
        tab.evaluate(f"document.querySelector('[aria-label={name.capitalize()}]').click()")
        tab.evaluate("lyra.setCamera([[1,0,0,0],[0,1,0,0],[0,0,1,-900],[0,0,0,1]], [[100,0,160],[0,100,90],[0,0,1]])")
        assert (tab.picture()[0, 0] == value).all()
    _set(tab, "#custom", "'#102030'")
    assert tab.picture()[0, 0].tolist() == [0x10, 0x20, 0x30]
    _set(tab, "#custom", "'#000000'")


def test_statistics_help_and_fullscreen(tab):
    tab.key("i")
    assert "of 400 splats" in tab.evaluate("document.querySelector('#stats').innerText")
    stats = tab.evaluate("lyra.stats()")
    assert stats["splats"] == 400 and 0 < stats["shown"] <= 400 and [stats["width"], stats["height"]] == [320, 180]
    tab.key("h")
    assert tab.evaluate("document.querySelector('#help').open")
    words = tab.evaluate("document.querySelector('#help').innerText")
    assert all(word in words for word in ("Drag", "Wheel", "Two fingers", "reset the view", "cameras of the path"))
    assert "play, pause" not in words, "this scene stands still"
    tab.key("h")
    assert not tab.evaluate("document.querySelector('#help').open")
    tab.key("f")
    tab.wait("document.fullscreenElement")
    tab.key("f")
    tab.wait("!document.fullscreenElement")
    tab.key("i")


def test_picture_key_downloads_the_png(browser, tab, tmp_path):
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.key("p")
    file = tmp_path / "Controls.png"
    until = time.monotonic() + 15
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert np.array_equal(np.asarray(Image.open(file).convert("RGB")), tab.picture())


def test_controls_fade_and_come_back_without_being_pressed(motion):
    motion.wait("document.body.classList.contains('idle')")
    x, y = motion.evaluate("(r => [r.x + 9, r.y + 9])(document.querySelector('#loop').getBoundingClientRect())")
    pressed = motion.evaluate("document.querySelector('#loop').ariaPressed")
    motion.click(x, y)
    assert not motion.evaluate("document.body.classList.contains('idle')")
    assert motion.evaluate("document.querySelector('#loop').ariaPressed") == pressed


def test_every_control_has_a_name_and_the_keyboard_reaches_it(motion):
    names = motion.evaluate(
        "[...document.querySelectorAll('button, input')].map(e => e.ariaLabel || e.textContent.trim())"
    )
    assert len(names) == 19 and all(names)
    reached = set()
    for _ in range(20):
        motion.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        motion.send("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        reached.add(motion.evaluate("document.activeElement.id"))
    assert {"do-reset", "do-help", "play", "time", "speed", "loop", "previous", "station", "next"} <= reached
    motion.evaluate("document.activeElement.blur()")


def test_play_pause_scrub_and_step(motion):
    now = "Number(document.querySelector('#time').value)"
    motion.evaluate("lyra.setTime(0)")
    first = motion.picture()
    _set(motion, "#time", 0.6)
    motion.evaluate("lyra.screenshot()")
    assert motion.evaluate("lyra.stats()")["time"] == pytest.approx(0.6)
    assert np.abs(motion.picture().astype(int) - first).mean() > 2
    for key, time_then in ((".", 0.8), (",", 0.6), (",", 0.4)):
        motion.key(key)
        motion.wait(f"Math.abs({now} - {time_then}) < 1e-6")
    motion.key(" ")
    motion.wait(f"{now} > 0.42 && document.querySelector('#play').ariaLabel === 'Pause'")
    _click(motion, "#play")
    motion.wait("document.querySelector('#play').ariaLabel === 'Play'")


def test_speed_and_loop(motion):
    _click(motion, "#speed")
    motion.wait("document.querySelector('#speed').textContent === '2\u00d7'")
    _click(motion, "#loop")
    motion.evaluate("lyra.setTime(0.7)")
    motion.evaluate("lyra.play()")
    motion.wait("document.querySelector('#now').textContent === '1.00 / 1.00 s'")
    motion.wait("document.querySelector('#play').ariaLabel === 'Play'")  # it stops by itself
    motion.evaluate("lyra.screenshot()")
    assert motion.evaluate("lyra.stats()")["time"] == 1.0, "without the loop it ends on the last frame"
    _click(motion, "#loop")
    motion.evaluate("lyra.play()")
    motion.wait("document.querySelector('#now').textContent.startsWith('0.')")
    motion.evaluate("lyra.pause()")
