"""Without the extra [models]: what is missing is said, with the line that installs it; run with and without it."""

from command_line import child

from geoseg_agent.samples import scene, write


def test_without_the_extra_it_says_what_to_install(tmp_path):
    image = write(scene(7, (256, 320)), tmp_path / "scene").geotiff
    for command in (("segment", image, "the lake"), ("doctor", "models", "--list")):
        done = child(*command, cwd=tmp_path, without_models=True, GEOSEG_TOOLS="models")
        assert done.returncode == 3, done.stdout
        assert "pip install 'geoseg-agent[models]'" in done.stderr
