"""Bundles of more shapes that public repositories have, with AppSpecs of our own."""

from __future__ import annotations

from public_bundles import PublicBundle, denied

OWN = {
    # Django behind gunicorn, which systemd runs: a unit file beside the application, and two users.
    "django": PublicBundle(
        """\
version: 0.0
os: linux
files:
  - source: shop
    destination: /srv/shop/
  - source: deploy/gunicorn.service
    destination: /etc/systemd/system
permissions:
  - object: /srv/shop
    owner: django
    group: www-data
    mode: 640
    type:
      - file
  - object: /srv/shop
    owner: django
    group: www-data
    mode: 2750
    type:
      - directory
  - object: /etc/systemd/system/gunicorn.service
    mode: "0600"
hooks:
  ApplicationStop:
    - location: deploy/stop.sh
  AfterInstall:
    - location: deploy/dependencies.sh
      timeout: 600
      runas: django
    - location: deploy/check.sh
      timeout: 60
      runas: django
  ApplicationStart:
    - location: deploy/start.sh
      runas: root
""",
        scripts={
            "deploy/stop.sh": "systemctl stop gunicorn-VERSION",
            "deploy/dependencies.sh": "pip install -r /srv/shop/requirements-VERSION.txt",
            "deploy/check.sh": "gunicorn --check-config shop.wsgi",
            "deploy/start.sh": "systemctl daemon-reload\nsystemctl restart gunicorn-VERSION",
        },
        files={
            "shop/requirements-VERSION.txt": "release VERSION",
            "shop/shop/wsgi.py": "release VERSION",
            "deploy/gunicorn.service": "release VERSION",
        },
        place="/srv/shop",
        also="/etc/systemd/system/gunicorn*",
        installed="""\
0755 root:root .
2750 django:www-data shop
0640 django:www-data requirements-VERSION.txt shop/wsgi.py
0600 root:root /etc/systemd/system/gunicorn.service
""",
        runs="""\
ApplicationStop root systemctl stop gunicorn-VERSION
AfterInstall django pip install -r /srv/shop/requirements-VERSION.txt
AfterInstall django gunicorn --check-config shop.wsgi
ApplicationStart root systemctl daemon-reload
ApplicationStart root systemctl restart gunicorn-VERSION
""",
        refused=denied("/srv/shop"),
    ),
    # Node and pm2 as many tutorials have it: `overwrite`, which is no key, and a relative object, which matches nothing.
    "node": PublicBundle(
        """\
version: 0.0
os: linux
files:
  - source: /
    destination: /home/ec2-user/app
    overwrite: yes
file_exists_behavior: OVERWRITE
permissions:
  - object: scripts/
    mode: 777
    type:
      - directory
  - object: /
    pattern: "**"
    owner: ec2-user
    group: ec2-user
hooks:
  ApplicationStop:
    - location: scripts/stop.sh
      timeout: 300
      runas: ec2-user
  AfterInstall:
  - location: ./scripts/install.sh
    timeout: "300"
    runas: ec2-user
  ApplicationStart:
    - location: /scripts/start.sh
      timeout: 300
      runas: ec2-user
""",
        scripts={
            "scripts/stop.sh": "pm2 stop shop-VERSION",
            "scripts/install.sh": "cd /home/ec2-user/app\nnpm ci --omit=dev",
            "scripts/start.sh": "pm2 start /home/ec2-user/app/index.js --name shop-VERSION",
        },
        files={"index.js": "release VERSION", "package-VERSION.json": "release VERSION"},
        there={
            "/home/ec2-user/app/index.js": "release of nobody",
            "/home/ec2-user/app/upload": "of a customer",
        },
        name="appspec.yaml",
        place="/home/ec2-user/app",
        installed="""\
0755 ec2-user:ec2-user . scripts
0644 ec2-user:ec2-user appspec.yaml index.js package-VERSION.json scripts/install.sh scripts/start.sh scripts/stop.sh
0644 ec2-user:ec2-user upload
""",
        runs="""\
ApplicationStop ec2-user pm2 stop shop-VERSION
AfterInstall ec2-user npm ci --omit=dev
ApplicationStart ec2-user pm2 start /home/ec2-user/app/index.js --name shop-VERSION
""",
    ),
    # The archive of a branch: one folder at the top, and an AppSpec in JSON. A helper may bind to port 80.
    "spring": PublicBundle(
        """\
{"version": 0.0, "os": "linux",
 "files": [{"source": "build/libs/shop-VERSION.jar", "destination": "/home/spring/app"},
           {"source": "bin", "destination": "/usr/local/lib/shop"}],
 "permissions": [{"object": "/home/spring/app", "owner": "spring", "group": "spring", "mode": "400", "type": ["file"]},
                 {"object": "/usr/local/lib/shop", "pattern": "bind-*", "owner": "root", "group": "spring", "mode": "4750"},
                 {"object": "/usr/local/lib/shop", "pattern": "run*", "except": ["run-as-root"], "mode": "755"}],
 "hooks": {"ApplicationStart": [{"location": "bin/run", "timeout": 60, "runas": "spring"}]}}
""",
        scripts={"bin/run": "java -jar /home/spring/app/shop-VERSION.jar"},
        files={
            "build/libs/shop-VERSION.jar": "release VERSION",
            "build/libs/shop-plain.jar": "release VERSION",
            "bin/bind-port": "release VERSION",
            "bin/run-as-root": "release VERSION",
        },
        top="shop-0a1b2c3d",
        place="/usr/local/lib/shop",
        also="/home/spring/app",
        installed="""\
0755 root:root . run /home/spring/app
4750 root:spring bind-port
0644 root:root run-as-root
0400 spring:spring /home/spring/app/shop-VERSION.jar
""",
        runs="ApplicationStart spring java -jar /home/spring/app/shop-VERSION.jar",
        refused=denied("/home/spring/app"),
    ),
    # A static site: what the host has stays, and a deployer may write to its folders.
    "site": PublicBundle(
        """\
version: 0.0
os: linux
files:
  - {source: dist, destination: /var/www/shop}
file_exists_behavior: RETAIN
permissions:
  - object: /var/www/shop
    pattern: "*.html"
    except: [internal-*.html]
    owner: www-data
    mode: 444
    type: [file]
  - object: /var/www/shop
    mode: 770
    acls: ["u:django:rwx", "g:www-data:rx", "d:u:django:rwx"]
    type: [directory]
  - object: /var/www/shop/internal-page.html
    mode: 640
    acls: ["django:r"]
hooks:
  AfterInstall:
    - location: reload.sh
""",
        scripts={"reload.sh": "nginx -t\nnginx -s reload"},
        files={
            "dist/index.html": "release VERSION",
            "dist/internal-page.html": "release VERSION",
            "dist/robots.txt": "release VERSION",
            "dist/page-VERSION.html": "release VERSION",
            "dist/assets/site.css": "release VERSION",
        },
        there={"/var/www/shop/robots.txt": "of the host"},
        place="/var/www/shop",
        installed="""\
0755 ec2-user:ec2-user .
0644 ec2-user:ec2-user robots.txt
0444 www-data:root index.html page-VERSION.html
0770 root:root assets
0644 root:root assets/site.css
0640 root:root internal-page.html
""",
        runs="""\
AfterInstall root nginx -t
AfterInstall root nginx -s reload
""",
        acls={
            "/var/www/shop/assets": "default:user:django:rwx group:www-data:r-x user:django:rwx",
            "/var/www/shop/internal-page.html": "user:django:r--",
        },
        refused=(
            "Install",
            "The deployment failed because the permissions of /var/www/shop/index.html cannot be set: Operation not "
            "permitted",
        ),
    ),
    # A worker of a user who has no other rights: sudo in the scripts, ACLs that an owner may set.
    "worker": PublicBundle(
        """\
version: 0.0
os: linux
files:
  - source: worker
    destination: /home/ec2-user/worker
  - source: config/worker.env
    destination: /home/ec2-user/worker/config/
permissions:
  - object: /home/ec2-user/worker/config/worker.env
    mode: 640
    acls:
      - u:www-data:r
hooks:
  ApplicationStop:
    - location: stop.sh
      sudo: true
  ApplicationStart:
    - location: start.sh
      sudo: true
      timeout: 30
""",
        scripts={
            "stop.sh": "systemctl stop worker@VERSION",
            "start.sh": "systemctl start worker@VERSION",
        },
        files={"worker/worker-VERSION.py": "release VERSION", "config/worker.env": "release VERSION"},
        place="/home/ec2-user/worker",
        installed="""\
0755 -:- . config
0644 -:- worker-VERSION.py
0640 -:- config/worker.env
""",
        runs="""\
ApplicationStop - sudo stop.sh
ApplicationStop - systemctl stop worker@VERSION
ApplicationStart - sudo start.sh
ApplicationStart - systemctl start worker@VERSION
""",
        acls={"/home/ec2-user/worker/config/worker.env": "user:www-data:r--"},
    ),
}
