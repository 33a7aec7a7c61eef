# Sourced by run_demo.sh and run_tests.sh: creates the virtual environment $VENV (default: .venv) if it does not exist,
# activates it, and installs the given requirements file.
VENV=${VENV:-.venv}
if [ ! -x "$VENV/bin/python" ]; then
    python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || {
        echo "error: MindSpore needs Python 3.10, 3.11 or 3.12; python3 here is $(python3 --version)" >&2
        exit 2
    }
    echo "creating a virtual environment in $VENV"
    python3 -m venv "$VENV"
fi
source "$VENV/bin/activate"
echo "installing $1 (the MindSpore wheel is about 800 MB)"
python -m pip install --quiet --disable-pip-version-check -r "$1"
