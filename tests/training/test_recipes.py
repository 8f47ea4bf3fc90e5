"""What the recipes in configs/ have in common."""

from pathlib import Path

import pytest
import yaml

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_no_recipe_compiles_unless_asked(recipe):
    """Compiling takes a minute or more for each size of images, which small trainings do not win back."""
    assert yaml.safe_load(recipe.read_text("utf-8")).get("compile", False) is False
