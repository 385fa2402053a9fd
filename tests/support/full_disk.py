"""Save an answer where no file may grow over a number of bytes, as on a full disk: FOLDER BYTES [LARGE]."""

import resource
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # a safe path leaves the folder of the script out

from saved_answers import wordy

from geoseg_agent.errors import InputError
from geoseg_agent.export import save

if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    more = {"large": int(sys.argv[3])} if len(sys.argv) > 3 else {}
    try:
        save(wordy(), sys.argv[1], formats=["geojson", "gpkg", "fgb", "geoparquet"] if more else None, **more)
    except InputError as error:
        sys.stdout.write(str(error))
