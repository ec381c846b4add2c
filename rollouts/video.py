"""Side-by-side videos of several arms on the same seeds."""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import imageio
import imageio_ffmpeg
import mujoco
import numpy as np
from gymnasium.wrappers import RenderCollection
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from generative_policies.atomic_files import replacing
from generative_policies.envs.rendering import require_rendering
from generative_policies.rollouts.episodes import Act, run_episodes

Frame = NDArray[np.uint8]
MakeRenderedEnv = Callable[[], gymnasium.Env[Any, Any]]
CAPTION_HEIGHT = 32
HOLD_FRAMES = 10
ROBOT_COLOR = (0.32, 0.45, 0.62)
FLOOR_COLOR = (0.72, 0.72, 0.72)
OBJECT_COLOR = (0.95, 0.65, 0.1)


class VideoArm(NamedTuple):
    """One panel: an env made with ``render_mode="rgb_array"``, and the policy in it."""

    make_env: MakeRenderedEnv
    act: Act


class RenderedEpisode(NamedTuple):
    """Frames of one episode, one a step and one for the reset, and how it ended."""

    frames: list[Frame]
    success: bool | None


def render_episode(arm: VideoArm, seed: int) -> RenderedEpisode:
    """Run one episode and keep its frames."""
    env = RenderCollection(light_up(arm.make_env()), pop_frames=False)
    (episode,) = run_episodes(lambda: env, arm.act, [seed])
    return RenderedEpisode([on_white(np.asarray(frame)) for frame in env.frame_list], episode.success)


def light_up(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Light a MuJoCo scene evenly, paint what is white or MuJoCo's default grey, and drop the shadows.

    Shadows take most of the time of rendering without a GPU.
    """
    model = env.unwrapped.model  # type: ignore[attr-defined]  # MujocoEnv's
    default_grey = (model.geom_rgba[:, :3] == 0.5).all(axis=1)
    floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
    model.geom_rgba[(model.geom_rgba[:, :3] == 1).all(axis=1), :3] = OBJECT_COLOR
    model.geom_rgba[default_grey & ~floor, :3] = ROBOT_COLOR
    model.geom_rgba[default_grey & floor, :3] = FLOOR_COLOR
    visual = model.vis
    visual.quality.shadowsize = 0
    visual.headlight.ambient[:] = 0.45
    visual.headlight.diffuse[:] = 0.45
    visual.headlight.specular[:] = 0.1
    return env


def on_white(frame: Frame) -> Frame:
    """Replace the pure black that MuJoCo renders where there is nothing."""
    frame = frame.copy()
    frame[(frame == 0).all(axis=-1)] = 255
    return frame


def write_comparison_video(arms: Mapping[str, VideoArm], seeds: Sequence[int], path: Path, fps: int) -> None:
    """Write one episode a seed, all arms side by side, as H.264 in an MP4; an earlier one stays until it is whole.

    Args:
        arms: The panels by their caption, left to right.
        seeds: Reset seeds, shown one after the other.
        path: The file.
        fps: Frames a second [Hz]; one frame is one env step.

    Raises:
        RenderingUnavailableError: If no frame can be rendered.
        OSError: If the file cannot be written.
    """
    require_rendering()
    with replacing(path) as new:
        try:
            count = _write_frames(arms, seeds, new, fps)
        except OSError as error:
            if error.errno is not None:
                raise
            raise _unwritten(path) from error  # imageio tells of ffmpeg's end in twenty lines
        if _count_frames(new) != count:
            raise _unwritten(path)


def _write_frames(arms: Mapping[str, VideoArm], seeds: Sequence[int], path: Path, fps: int) -> int:
    """Write the video and return the number of its frames."""
    count = 0
    writer: Any  # imageio's types do not know append_data
    with imageio.get_writer(path, fps=fps, codec="libx264", quality=5, macro_block_size=16) as writer:
        for seed in seeds:
            rendered = {caption: render_episode(arm, seed) for caption, arm in arms.items()}
            length = max(len(episode.frames) for episode in rendered.values())
            for step in range(length + HOLD_FRAMES):
                panels = [_panel(caption, seed, episode, step) for caption, episode in rendered.items()]
                writer.append_data(np.concatenate(panels, axis=1))
                count += 1
    return count


def _count_frames(video: Path) -> int:
    """The frames of a video; none of one without an end, since ffmpeg fails without a word to its caller."""
    try:
        count: int = imageio_ffmpeg.count_frames_and_secs(str(video))[0]
    except (RuntimeError, OSError):
        return 0
    return count


def _unwritten(path: Path) -> OSError:
    return OSError(errno.EIO, "ffmpeg could not write all frames; is the disk full?", str(path))


def _panel(caption: str, seed: int, episode: RenderedEpisode, step: int) -> Frame:
    """A frame under its caption; at the end the outcome stands in it."""
    last = len(episode.frames) - 1
    frame = episode.frames[min(step, last)]
    outcome, color = f"seed {seed}, step {min(step, last)}", "black"
    if step >= last and episode.success is not None:
        outcome, color = ("success", "#007A33") if episode.success else ("no success", "#B00020")
    image = Image.new("RGB", (frame.shape[1], frame.shape[0] + CAPTION_HEIGHT), "white")
    image.paste(Image.fromarray(frame), (0, CAPTION_HEIGHT))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=17)
    draw.text((8, 6), caption, fill="black", font=font)
    draw.text((frame.shape[1] - 8, 6), outcome, fill=color, font=font, anchor="ra")
    return np.asarray(image)
