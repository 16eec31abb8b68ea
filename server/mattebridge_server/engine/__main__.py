"""The engine child: ``python -m mattebridge_server.engine``, started by the broker and by nobody else."""

from .host import main

raise SystemExit(main())
