"""3D Slicer module: choose a CT, let an installed ``vastus`` label it in the background, see the segmentation.

Only what touches 3D Slicer is here; the rest is in ``VastusLib.running``, which is tested without it.
"""

import shutil
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from VastusLib.running import CanNotRun, Run, command_of, current_environment, find_program, plain_environment

PROGRAM_SETTING = "Vastus/program"
POLL_MS = 250
HELP = (
    "Labels 27 muscles, femur and hip bone, right and left, in a CT of thigh and hip. It runs the program vastus, which"
    " is installed apart from 3D Slicer (pip install vastus). Nothing leaves this computer. For research only: not a"
    " medical device."
)


class Vastus(ScriptedLoadableModule):
    """What 3D Slicer lists."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Vastus: thigh and hip muscles"
        parent.categories = ["Segmentation"]
        parent.dependencies = []
        parent.contributors = ["The Vastus developers"]
        parent.helpText = HELP
        parent.acknowledgementText = "After Kim et al., Scientific Reports 2024."


class VastusWidget(ScriptedLoadableModuleWidget):
    """The panel: volume, program, Apply, Cancel, messages."""

    def setup(self):
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = VastusLogic()
        form = qt.QFormLayout()
        self.layout.addLayout(form)

        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow("CT:", self.volume)

        self.program = qt.QLineEdit()
        self.program.text = find_program(str(qt.QSettings().value(PROGRAM_SETTING) or ""))
        self.program.toolTip = "Path of the program vastus (vastus.exe on Windows) in the Python where it is installed."
        form.addRow("Program:", self.program)
        self.choose = qt.QPushButton("Choose the program...")
        form.addRow("", self.choose)

        self.threads = qt.QSpinBox()
        self.threads.minimum, self.threads.maximum = 0, 64
        self.threads.specialValueText = "all"
        form.addRow("Threads:", self.threads)

        self.surfaces = qt.QCheckBox("Show in 3D")
        form.addRow("", self.surfaces)

        self.apply, self.cancel = qt.QPushButton("Label the muscles"), qt.QPushButton("Cancel")
        self.layout.addWidget(self.apply)
        self.layout.addWidget(self.cancel)
        self.messages = qt.QPlainTextEdit()
        self.messages.readOnly = True
        self.layout.addWidget(self.messages)
        self.layout.addStretch(1)

        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.look)
        self.choose.connect("clicked(bool)", self.choose_program)
        self.apply.connect("clicked(bool)", self.start)
        self.cancel.connect("clicked(bool)", self.stop)
        self._buttons()

    def cleanup(self):
        """End what runs when the module or the application is closed."""
        self.timer.stop()
        self.logic.drop()

    def choose_program(self, _clicked=False):
        """Ask for the program's file."""
        chosen = qt.QFileDialog.getOpenFileName(None, "Where is vastus?", self.program.text)
        if chosen:
            self.program.text = chosen

    def start(self, _clicked=False):
        """Export the volume and start the program."""
        self.messages.clear()
        try:
            self.logic.start(self.volume.currentNode(), self.program.text.strip(), self.threads.value)
        except CanNotRun as problem:
            self.logic.drop()
            slicer.util.errorDisplay(str(problem))
            return
        qt.QSettings().setValue(PROGRAM_SETTING, self.program.text.strip())
        self.timer.start()
        self._buttons()

    def stop(self, _clicked=False):
        """Cancel; the next look tells it."""
        self.logic.cancel()

    def look(self):
        """Show what was printed; at the end, load the result."""
        for line in self.logic.new_lines():
            self.messages.appendPlainText(line)
        if not self.logic.ended():
            return
        self.timer.stop()
        try:
            self.logic.load(self.surfaces.checked)
            self.messages.appendPlainText("Done. Look at the labels before you use a number.")
        except CanNotRun as problem:
            self.messages.appendPlainText(str(problem))
        finally:
            self.logic.drop()
            self._buttons()

    def _buttons(self):
        self.apply.enabled = not self.logic.busy
        self.cancel.enabled = self.logic.busy


class VastusLogic(ScriptedLoadableModuleLogic):
    """One run at a time: the volume out to a file, the program, the segmentation in."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self._run = None
        self._folder = None
        self._volume = None

    @property
    def busy(self):
        """Whether a run was started and not yet dropped."""
        return self._run is not None

    def start(self, volume, program, threads=0):
        """Start a run.

        Raises:
            CanNotRun: no volume, it can't be written, or no program.
        """
        if self.busy:
            raise CanNotRun("It is at work already.")
        if volume is None or volume.GetImageData() is None:
            raise CanNotRun("Choose a CT first.")
        self._folder = Path(tempfile.mkdtemp(prefix="vastus-", dir=slicer.app.temporaryPath))
        scan, output = self._folder / "scan.nrrd", self._folder / "result"
        command = command_of(program, scan, output, threads)
        if not slicer.util.saveNode(volume, str(scan), {"useCompression": 0}):
            raise CanNotRun("3D Slicer can't write the volume to its folder for temporary files.")
        self._volume = volume
        self._run = Run(command, plain_environment(_environment_before_slicer()))

    def new_lines(self):
        """What the program printed since the last call."""
        return self._run.new_lines() if self._run else []

    def ended(self):
        """Whether the program is over."""
        return self._run is not None and self._run.ended()

    def cancel(self):
        """End the program."""
        if self._run is not None:
            self._run.cancel()

    def load(self, surfaces=False):
        """Load the result as a segmentation: names, colours and terminology stand in its header.

        Raises:
            CanNotRun: there is none.
        """
        path = self._run.result(self._folder / "result")
        segmentation = slicer.util.loadSegmentation(str(path))
        if segmentation is None:
            raise CanNotRun("3D Slicer can't read the result.")
        segmentation.SetName(f"{self._volume.GetName()} muscles")
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self._volume)
        # The volume was written without the transform that it stands under.
        segmentation.SetAndObserveTransformNodeID(self._volume.GetTransformNodeID())
        segmentation.CreateDefaultDisplayNodes()
        if surfaces:
            segmentation.CreateClosedSurfaceRepresentation()
        return segmentation

    def drop(self):
        """Forget the run and remove its files: they are a patient's images."""
        if self._run is not None:
            self._run.cancel()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._run = self._folder = self._volume = None


def _environment_before_slicer():
    """The environment that 3D Slicer was started with, where it tells."""
    told = getattr(slicer.util, "startupEnvironment", None)
    return told() if told is not None else current_environment()
