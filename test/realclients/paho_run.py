"""Runs one test of the Eclipse Paho interoperability suite.

usage: paho_run.py FOLDER MODULE PORT TEST    runs a test
       paho_run.py FOLDER MODULE              lists the tests

The suite reads its settings from globals that its own main sets; so does this.
"""
import importlib
import sys
import unittest

folder, name = sys.argv[1:3]
sys.path.insert(0, folder)
module = importlib.import_module(name)

if len(sys.argv) == 3:
    for test in unittest.TestLoader().getTestCaseNames(module.Test):
        print(test)
    sys.exit()

topics = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"]
wild = ["TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#"]
module.topic_prefix = "client_test5/"
module.topics, module.wildtopics = topics, wild
module.nosubscribe_topics = ("test/nosubscribe",)
module.host, module.port = "127.0.0.1", int(sys.argv[3])
unittest.main(module=module, argv=["paho", "Test." + sys.argv[4]])
