# Python 3.11 or newer with venv is all that must be there; the rest is installed here.
PYTHON ?= python3
VENV := .venv
DEMO := demo
RUN := $(VENV)/bin/python
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# A screen that nobody sees, keys pressed by a program, a reader of JavaScript, OpenGL, what PsychoPy's keyboard, dialog
# and texts load, and fonts for Chinese and Japanese, Hindi, and emoji.
DEBIAN := xvfb xdotool nodejs libjack-jackd2-0 libgl1 libgl1-mesa-dri libglu1-mesa libegl1 libglib2.0-0 libdbus-1-3 \
	libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 \
	libxcb-shape0 libxcb-xinerama0 libasound2 libportaudio2 libusb-1.0-0 libsndfile1 \
	libfontconfig1 fonts-wqy-microhei fonts-lohit-deva fonts-noto-color-emoji

# Where it is set, each process that a test starts would compile all that it imports, which takes most of its time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs install clean

demo: $(VENV)/demo-installed
	rm -rf $(DEMO)
	$(RUN) -m catpref demo $(DEMO)

test: $(VENV)/test-installed $(VENV)/debian-installed
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist worksteal

lint: $(VENV)/dev-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(RUN)
	$(VENV)/bin/lint-imports

docs: $(VENV)/dev-installed
	$(VENV)/bin/mkdocs build --strict --quiet

# All that the targets above need: `make -j2 install` fetches Python's packages and Debian's at the same time.
install: $(VENV)/dev-installed $(VENV)/debian-installed

clean:
	rm -rf $(VENV) $(DEMO) site dist

$(VENV)/created:
	test -x $(RUN) || $(PYTHON) -m venv $(VENV) # unless the README's commands have made it
	$(RUN) -m pip install -q --upgrade pip # Python's own may take twice as long to find what goes together
	touch $@

$(VENV)/demo-installed: pyproject.toml | $(VENV)/created
	$(RUN) -m pip install -q -e '.[fit]'
	touch $@

$(VENV)/test-installed: pyproject.toml | $(VENV)/created
	$(RUN) -m pip install -q -e '.[test]'
	touch $@

$(VENV)/dev-installed: pyproject.toml | $(VENV)/created
	$(RUN) -m pip install -q -e '.[dev]'
	touch $(VENV)/demo-installed $(VENV)/test-installed $@ # which it includes

$(VENV)/debian-installed: Makefile | $(VENV)/created
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(DEBIAN) >/dev/null
	touch $@
