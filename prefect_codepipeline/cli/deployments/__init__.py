"""`codepipeline deployment`: what CodeDeploy actions have deployed to hosts."""
