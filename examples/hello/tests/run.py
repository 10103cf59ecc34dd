"""Run the tests and write their results as JUnit XML: `python3 -m tests.run REPORT`."""

import sys
import time
import traceback
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path


class Report(unittest.TextTestResult):
    """Record each test case in the order in which they run."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.suite = ET.Element("testsuite", name="hello")

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.started = time.perf_counter()
        _, _, name = test.id().rpartition(".")
        self.case = ET.SubElement(self.suite, "testcase", name=name, classname=type(test).__name__)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.case.set("time", f"{time.perf_counter() - self.started:.3f}")

    def addFailure(self, test: unittest.TestCase, error: tuple) -> None:
        super().addFailure(test, error)
        self.add("failure", error)

    def addError(self, test: unittest.TestCase, error: tuple) -> None:
        super().addError(test, error)
        self.add("error", error)

    def add(self, kind: str, error: tuple) -> None:
        ET.SubElement(self.case, kind, message=str(error[1])).text = "".join(
            traceback.format_exception(*error)
        )


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=2, resultclass=Report).run(
        unittest.defaultTestLoader.discover(".")
    )
    report = Path(sys.argv[1])
    report.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(result.suite).write(report, encoding="utf-8", xml_declaration=True)
    sys.exit(not result.wasSuccessful())
