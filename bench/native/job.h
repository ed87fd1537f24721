// A job of the benchmark as it arrives: one line of key=value, separated by tabs. And the JSON that goes back.
#pragma once

#include <cstdio>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace feynkac::bench {

class Job {
 public:
  explicit Job(const std::string& line) {
    std::istringstream words(line);
    for (std::string word; std::getline(words, word, '\t');) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) throw std::invalid_argument("expected key=value, not '" + word + "'");
      values_[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }

  const std::string& text(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) throw std::invalid_argument("the job has no '" + key + "'");
    return found->second;
  }
  double number(const std::string& key) const { return std::stod(text(key)); }
  int integer(const std::string& key) const { return std::stoi(text(key)); }
  std::vector<int> integers(const std::string& key) const {  // 1,2,2
    std::vector<int> out;
    std::istringstream parts(text(key));
    for (std::string part; std::getline(parts, part, ',');) out.push_back(std::stoi(part));
    return out;
  }

 private:
  std::map<std::string, std::string> values_;
};

inline std::string toJson(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", number);
  return text;
}

inline std::string toJson(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return json + "\"";
}

std::string networkJob(const Job& job);   // network_jobs.cpp
std::string particleJob(const Job& job);  // particle_jobs.cpp

}  // namespace feynkac::bench
