import tempfile
import unittest
from pathlib import Path

from hello import __version__, greet
from hello.build import build


class Hello(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertEqual(greet("Ada"), "Hello, Ada!")

    def test_greets_the_world_without_a_name(self):
        self.assertEqual(greet(" "), "Hello, world!")

    def test_a_name_is_escaped(self):
        self.assertNotIn("<b>", greet("<b>"))

    def test_the_built_page_contains_the_version(self):
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), "c0ffee")
            self.assertIn(__version__, (Path(folder) / "index.html").read_text())


if __name__ == "__main__":
    unittest.main()
