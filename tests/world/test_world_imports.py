import subprocess
import sys


def test_world_needs_numpy_and_pillow_only():
    code = (
        "import sys, divot.world; "
        "print(sorted({'torch', 'av', 'transformers', 'diffusers', 'yaml'} & set(sys.modules)), "
        "[n for n in sys.modules if n.startswith('divot.') and not n.startswith('divot.world')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[] []"
